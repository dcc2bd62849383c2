package reader

import (
	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/model"
)

// shownLinks returns a container's links as inspect has them, nil without any.
func shownLinks(all Containers, r containerrecord.Record) []string {
	var out []string
	for _, l := range r.Links {
		if target, ok := all.ByID(l.Target); ok {
			out = append(out, "/"+target.Record().Name+":"+r.LinkName(l))
		}
	}
	return out
}

// linkedNames returns, by container, the names that links give it.
func linkedNames(all Containers) map[model.ContainerID][]string {
	out := map[model.ContainerID][]string{}
	for _, b := range all.All() {
		r := b.Record()
		for _, l := range r.Links {
			out[l.Target] = append(out[l.Target], r.LinkName(l))
		}
	}
	return out
}
