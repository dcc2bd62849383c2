package inspect

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// LinkReader reads the counters of interfaces of a namespace, by its name; the empty name
// is the host's. The error is fs.ErrNotExist if it is not there.
type LinkReader interface {
	Links(ctx context.Context, namespace string) ([]facts.LinkTraffic, error)
}

// Meter is one reading of all counters that somebody who watches traffic sees.
type Meter struct {
	At      time.Time
	Members []MemberMeter // by container, then network
	Ports   []Port        // by host port
}

// MemberMeter is what a container has received and sent on one network since it started.
type MemberMeter struct {
	Sandbox  model.Sandbox
	Network  model.Network
	Endpoint model.Endpoint
	In, Out  facts.Counter
}

// ReadMeter reads the counters of now. Interfaces that cannot be found, because their
// container has ended meanwhile or has renamed them, are left out.
func (r *Reader) ReadMeter(ctx context.Context, now func() time.Time) (Meter, error) {
	if r.o.Links == nil {
		return Meter{}, model.Errorf(model.NotImplemented, "traffic is not counted here")
	}
	ctx, cancel := context.WithTimeout(ctx, reading)
	defer cancel()
	s := r.o.Engine.Snapshot()
	host, err := r.o.Links.Links(ctx, "")
	if err != nil {
		return Meter{}, err
	}
	m, byName := Meter{At: now()}, named(host)
	for sb := range s.Sandboxes() {
		if err := r.readMember(ctx, &m, s, sb, byName); err != nil {
			return Meter{}, err
		}
	}
	slices.SortFunc(m.Members, func(a, b MemberMeter) int {
		return cmp.Or(cmp.Compare(a.Sandbox.Name, b.Sandbox.Name), cmp.Compare(a.Sandbox.ID, b.Sandbox.ID), cmp.Compare(a.Network.Name, b.Network.Name))
	})
	counted, err := r.counters(ctx)
	m.Ports = portsOf(s, counted)
	return m, err
}

// readMember adds what a container has counted: at the host's ends where they are on the
// host, so that one look serves all of them, else inside.
func (r *Reader) readMember(ctx context.Context, m *Meter, s *state.Snapshot, sb model.Sandbox, host map[string]facts.LinkTraffic) error {
	if !sb.Up || sb.Mode != model.SandboxOwn {
		return nil
	}
	var inside map[string]facts.LinkTraffic // nil until looked at
	for e := range s.EndpointsOf(sb.ID) {
		n, ok := s.Network(e.Network)
		if !ok || !e.Up || e.Interface == "" {
			continue
		}
		one := MemberMeter{Sandbox: sb, Network: n, Endpoint: e}
		if at, ok := r.o.Drivers.AttachedTo(s, e); ok {
			if l, there := host[at.Port]; there {
				one.In, one.Out = l.Sent, l.Received
				m.Members = append(m.Members, one)
				continue
			}
		}
		if inside == nil {
			all, err := r.o.Links.Links(ctx, model.NamespaceOf(sb.Container))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			inside = named(all)
		}
		if l, there := inside[e.Interface]; there {
			one.In, one.Out = l.Received, l.Sent
			m.Members = append(m.Members, one)
		}
	}
	return nil
}

// named returns the counters by the names of their interfaces.
func named(all []facts.LinkTraffic) map[string]facts.LinkTraffic {
	out := make(map[string]facts.LinkTraffic, len(all))
	for _, l := range all {
		out[l.Link] = l
	}
	return out
}
