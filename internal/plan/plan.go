// Package plan compiles a snapshot and facts of the host into desired kernel
// state. Read Compile first: it is the whole engine on one screen.
//
//	snapshot ─┐
//	          ├─▶ Owners ─▶ Compile ─▶ rows ─▶ desired.State
//	facts ────┘
//
// It is pure: equal arguments give equal rows, in equal order.
package plan

import (
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/firewall"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Input is everything a compilation sees.
type Input struct {
	Snapshot *state.Snapshot
	Facts    facts.Set
	Drivers  driver.Set
	Firewall firewall.Settings
	// Forward says that the host must forward between its networks (--ip-forward).
	Forward bool
}

// Compile returns the rows that one owner wants. An owner that is gone, or not
// up, wants nothing.
func (in Input) Compile(owner desired.Owner) ([]desired.Row, error) {
	rows, err := in.wanted(owner)
	return in.Firewall.Managed(rows), err
}

// wanted returns an owner's rows as they are where every family has rules.
func (in Input) wanted(owner desired.Owner) ([]desired.Row, error) {
	kind, id, _ := strings.Cut(string(owner), "/")
	switch kind {
	case "host":
		return in.host(), nil
	case "network":
		return in.network(model.NetworkID(id))
	case "sandbox":
		return in.sandbox(model.SandboxID(id))
	case "endpoint":
		return in.endpoint(model.EndpointID(id))
	case "parent":
		return in.parent(id), nil
	case string(desired.TunnelOwner):
		return in.tunnel(), nil
	}
	return nil, model.Errorf(model.Internal, "plan: unknown owner %q", owner)
}

// Update returns prev with the rows of owners compiled anew.
func (in Input) Update(prev desired.State, owners []desired.Owner) (desired.State, error) {
	next := prev
	var err error
	// First nobody of them wants anything, so that a row may pass from one owner
	// to another.
	for _, owner := range owners {
		if next, err = next.Replace(owner, nil); err != nil {
			return prev, err
		}
	}
	for _, owner := range owners {
		rows, err := in.Compile(owner)
		if err != nil {
			return prev, err
		}
		if next, err = next.Replace(owner, rows); err != nil {
			return prev, err
		}
	}
	return next, nil
}

// Full compiles every owner of the snapshot.
func (in Input) Full() (desired.State, error) {
	return in.Update(desired.State{}, All(in.Snapshot, in.Drivers))
}

// Owners returns whose rows a set of changed records can change, in order. Its
// length does not depend on how many networks and endpoints there are.
func Owners(changes []state.Change, drivers driver.Set) []desired.Owner {
	var out []desired.Owner
	add := func(o desired.Owner) {
		if !slices.Contains(out, o) {
			out = append(out, o)
		}
	}
	for _, c := range changes {
		switch c.Kind {
		case state.KindHost:
			add(desired.HostOwner)
		case state.KindSandbox:
			add(desired.OwnerOf("sandbox", model.SandboxID(c.ID)))
			for _, v := range []any{c.Old, c.New} {
				if sb, ok := v.(model.Sandbox); ok && sb.Ingress != "" { // where its ports lead is the network's
					add(desired.OwnerOf("network", sb.Ingress))
				}
			}
		case state.KindNetwork:
			add(desired.OwnerOf("network", model.NetworkID(c.ID)))
			for _, v := range []any{c.Old, c.New} {
				if n, ok := v.(model.Network); ok {
					if parent, ok := drivers.ParentOf(n); ok {
						add(desired.OwnerOf("parent", parent))
					}
					if n.Encrypted() {
						add(desired.TunnelOwner)
					}
				}
			}
		case state.KindEndpoint:
			add(desired.OwnerOf("endpoint", model.EndpointID(c.ID)))
			for _, v := range []any{c.Old, c.New} {
				if e, ok := v.(model.Endpoint); ok {
					add(desired.OwnerOf("sandbox", e.Sandbox))
					if e.Service != nil { // the network has all who stand for one
						add(desired.OwnerOf("network", e.Network))
					}
				}
			}
		}
	}
	return out
}

func (in Input) host() []desired.Row {
	h := in.Snapshot.Host()
	var rows []desired.Row
	if h.Forward4 {
		rows = append(rows, desired.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"})
	}
	if h.Forward6 {
		rows = append(rows, desired.Sysctl{Path: "net/ipv6/conf/all/forwarding", Value: "1"})
	}
	if in.Facts.Host.Packets.Large4 {
		rows = append(rows, desired.Loopback{Packets: driver.LargePackets})
	}
	return append(rows, firewall.Host(h, in.Facts.Host, in.Firewall)...)
}

func (in Input) network(id model.NetworkID) ([]desired.Row, error) {
	n, ok := in.Snapshot.Network(id)
	if !ok || n.ConfigOnly {
		return nil, nil
	}
	d, err := in.Drivers.Find(n.Driver)
	if err != nil {
		return nil, err
	}
	v := driver.View{
		Network: n, Packets: in.Facts.Host.Packets, Overlay: in.Facts.Overlay(id), Forward: in.Forward, DirectRouting: in.Firewall.DirectRouting,
	}
	if d.Traits().Hosts {
		v.Members = driver.Members(in.Snapshot, v.Overlay)
		v.Gates = gates(in.Snapshot, n)
	}
	return d.Plan(v)
}

// gates returns the addresses by which published ports of the swarm come into a network's
// namespace.
func gates(s *state.Snapshot, n model.Network) (out []driver.Gate) {
	if !n.Ingress {
		return nil
	}
	for e := range s.EndpointsOf(model.IngressSandbox(n.ID).ID) {
		on, _ := s.Network(e.Network)
		for _, f := range model.Families {
			if a := e.Address(f); e.Up && a.IsValid() {
				pool, _ := on.PoolOf(a)
				out = append(out, driver.Gate{Addr: a, Host: pool.Gateway})
			}
		}
	}
	return out
}

// parent plans what the networks share that hang on one interface of the host.
func (in Input) parent(name string) []desired.Row {
	for n := range in.Snapshot.Networks() {
		if p, ok := in.Drivers.ParentOf(n); ok && p == name {
			return driver.PlanParent(name)
		}
	}
	return nil
}

// tunnel plans what all encrypted networks share.
func (in Input) tunnel() []desired.Row {
	var tunneler driver.Tunneler
	var of []facts.Overlay
	for n := range in.Snapshot.Networks() {
		if !n.Encrypted() {
			continue
		}
		if d, err := in.Drivers.Find(n.Driver); err == nil {
			if t, ok := d.(driver.Tunneler); ok {
				tunneler, of = t, append(of, in.Facts.Overlay(n.ID))
			}
		}
	}
	if tunneler == nil {
		return nil
	}
	return tunneler.Tunnel(of)
}

func (in Input) endpoint(id model.EndpointID) ([]desired.Row, error) {
	e, ok := in.Snapshot.Endpoint(id)
	if !ok || !e.Up {
		return nil, nil
	}
	n, _ := in.Snapshot.Network(e.Network)
	sb, _ := in.Snapshot.Sandbox(e.Sandbox)
	d, err := in.Drivers.Find(n.Driver)
	if err != nil {
		return nil, err
	}
	rows, err := d.Plan(in.view(n, e, sb))
	if err != nil {
		return nil, err
	}
	traffic, _ := driver.ShapeOf(n.Options, e.DriverOpts) // what is none was refused when it was asked for
	rows = append(rows, driver.Shapes(traffic, rows)...)
	if d.Traits().Names && !e.WayOut {
		rows = append(rows, names(n, sb, e)...)
	}
	return rows, nil
}

// view returns what a driver sees of an endpoint that is up.
func (in Input) view(n model.Network, e model.Endpoint, sb model.Sandbox) driver.View {
	return driver.View{
		Network: n, Endpoint: &e, Sandbox: sb, DirectRouting: in.Firewall.DirectRouting,
		Packets: in.Facts.Host.Packets, Learned: in.Facts.Endpoint(e.ID), Overlay: in.Facts.Overlay(n.ID),
	}
}
