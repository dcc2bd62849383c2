// Package convert translates between what clients of Docker's API write and read of a
// swarm, and swarmkit's own objects.
//
// It promises that what a client reads and sends back unchanged changes nothing. It is
// pure: where names have to be looked up, it is done before.
package convert

import (
	"time"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
)

// annotationsOf translates name and labels; the latter are never null.
func annotationsOf(a api.Annotations) swarm.Annotations {
	labels := a.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	return swarm.Annotations{Name: a.Name, Labels: labels}
}

// metaOf translates version and times.
func metaOf(m api.Meta) swarm.Meta {
	return swarm.Meta{Version: swarm.Version{Index: m.Version.Index}, CreatedAt: timeOf(m.CreatedAt), UpdatedAt: timeOf(m.UpdatedAt)}
}

// timeOf translates a time; zero if there is none.
func timeOf(t *gogotypes.Timestamp) time.Time {
	out, err := gogotypes.TimestampFromProto(t)
	if err != nil {
		return time.Time{}
	}
	return out
}

// durationOf translates a time span; 0 if there is none.
func durationOf(d *gogotypes.Duration) time.Duration {
	out, err := gogotypes.DurationFromProto(d)
	if err != nil {
		return 0
	}
	return out
}
