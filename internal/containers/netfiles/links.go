package netfiles

import (
	"cmp"
	"errors"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/names"
	"github.com/linkspan/linkspan/internal/state"
)

// OnDefaultBridge tells whether a container is on the default bridge, where links are
// lines and rules; on networks of the user's own they are names.
func OnDefaultBridge(r containerrecord.Record, s *state.Snapshot) bool {
	_, ok := bridgeEndpoint(r, s)
	return ok
}

// bridgeEndpoint returns the membership in the default bridge.
func bridgeEndpoint(r containerrecord.Record, s *state.Snapshot) (model.Endpoint, bool) {
	n, ok := s.NetworkNamed(model.NetworkBridge)
	if !ok {
		return model.Endpoint{}, false
	}
	return s.EndpointAt(r.Sandbox, n.ID)
}

// LinkEntries returns the lines of hosts for the links of r, or only those to
// target if that is not empty. Targets that are not up have none.
func (nf *Files) LinkEntries(r containerrecord.Record, s *state.Snapshot, target model.ContainerID) []names.HostEntry {
	return nf.linkEntriesOf(r, s, target, func(to containerrecord.Record) string { return to.Name })
}

// linkEntriesOf is LinkEntries where name says what the targets are called.
func (nf *Files) linkEntriesOf(r containerrecord.Record, s *state.Snapshot, target model.ContainerID, name func(containerrecord.Record) string) []names.HostEntry {
	if len(r.Links) == 0 || !OnDefaultBridge(r, s) {
		return nil
	}
	var out []names.HostEntry
	for _, l := range r.Links {
		to, ok := nf.record(l.Target)
		if !ok || target != "" && l.Target != target {
			continue
		}
		e, _ := bridgeEndpoint(to, s)
		if !e.Up {
			continue
		}
		for _, a := range []netip.Addr{e.Addr4, e.Addr6} {
			if a.IsValid() {
				out = append(out, names.LinkEntry(a, l.Alias, to.Config.Hostname, name(to)))
			}
		}
	}
	return out
}

// LinkEnvironment returns the variables that tell a container of its links, if
// the daemon gives any. They are true at its start, and for as long as the
// targets keep their addresses.
func (nf *Files) LinkEnvironment(r containerrecord.Record) []string {
	if !nf.Defaults.LinkEnvironment || len(r.Links) == 0 {
		return nil
	}
	var out []string
	s := nf.Engine.Snapshot()
	for _, l := range r.Links {
		to, ok := nf.record(l.Target)
		if e, _ := bridgeEndpoint(to, s); ok && e.Up {
			out = append(out, names.LinkEnvironment(names.Linked{
				Name: r.LinkName(l), Alias: l.Alias, Addr: e.Addr4, Ports: containerspec.Exposed(to.Config.ExposedPorts), Env: to.Config.Env,
			})...)
		}
	}
	return out
}

// linkers returns the containers that have a link to target.
func (nf *Files) linkers(target containerrecord.Record, s *state.Snapshot) []Container {
	sb, _ := s.Sandbox(target.Sandbox)
	var out []Container
	for _, id := range sb.LinkedBy {
		from, _ := s.Sandbox(id)
		if c, ok := nf.Containers.ByID(from.Container); ok {
			out = append(out, c)
		}
	}
	return out
}

// MoveLinksTo brings the hosts files of those who link to a container up to date
// that has started, perhaps with another address. Its own start does not fail for
// their sake.
func (nf *Files) MoveLinksTo(target containerrecord.Record) {
	for _, c := range nf.linkers(target, nf.Engine.Snapshot()) {
		nf.moveLinks(c, target.ID, "container.start")
	}
}

// moveLinks brings the lines of a container's links up to date, or only those to
// target if that is not empty.
func (nf *Files) moveLinks(c Container, target model.ContainerID, op string) {
	nf.editHosts(c, op, func(text []byte) []byte {
		for _, e := range nf.LinkEntries(c.Record(), nf.Engine.Snapshot(), target) {
			text = names.MoveLines(text, e)
		}
		return text
	})
}

// catchUpLinks does to a container's hosts file what a daemon that was killed did not
// get to: lines of links that are gone go, and lines of targets that were renamed or
// came back with another address follow.
func (nf *Files) catchUpLinks(c Container) {
	rec, s := c.Record(), nf.Engine.Snapshot()
	nf.editHosts(c, "container.restore", func(text []byte) []byte {
		text = names.RemoveLines(text, without(rec.FormerLinks, nf.LinkEntries(rec, s, "")))
		return names.ReplaceLines(text, nf.formerEntries(rec, s), nf.LinkEntries(rec, s, ""))
	})
	nf.moveLinks(c, "", "container.restore")
}

// formerEntries returns LinkEntries with the names that the targets had before.
func (nf *Files) formerEntries(r containerrecord.Record, s *state.Snapshot) []names.HostEntry {
	return nf.linkEntriesOf(r, s, "", func(to containerrecord.Record) string { return cmp.Or(to.FormerName, to.Name) })
}

// RenameLinks makes the hosts files of those who link to a container follow its
// new name.
func (nf *Files) RenameLinks(target containerrecord.Record, change func()) {
	s, id := nf.Engine.Snapshot(), target.ID
	linkers := nf.linkers(target, s)
	before := make([][]names.HostEntry, len(linkers))
	for i, c := range linkers {
		before[i] = nf.LinkEntries(c.Record(), s, id)
	}
	change()
	for i, c := range linkers {
		nf.editHosts(c, "container.rename", func(text []byte) []byte {
			return names.ReplaceLines(text, before[i], nf.LinkEntries(c.Record(), s, id))
		})
	}
}

// RemoveLines takes lines out of a container's hosts file.
func (nf *Files) RemoveLines(c Container, lines []names.HostEntry, op string) {
	nf.editHosts(c, op, func(text []byte) []byte { return names.RemoveLines(text, lines) })
}

// editHosts changes the hosts file of a container, if there is one yet.
func (nf *Files) editHosts(c Container, op string, change func([]byte) []byte) {
	c.NetFiles().mu.Lock()
	defer c.NetFiles().mu.Unlock()
	file := nf.Dirs.Files(c.Record().ID).Hosts
	text, err := containerfiles.Read(file)
	if err == nil {
		if next := change(text); !slices.Equal(next, text) {
			err = containerfiles.Rewrite(file, next)
		}
	}
	if err != nil && !nf.spurned(c, file, err, op) && !errors.Is(err, fs.ErrNotExist) {
		nf.Log.Error("links of a container not refreshed", "container", model.Short(c.Record().ID), "op", op, "err", err)
	}
}
