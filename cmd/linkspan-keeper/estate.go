package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/dhcp"
	"github.com/linkspan/linkspan/internal/hostports"
	"github.com/linkspan/linkspan/internal/keeper/serve"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/kernel/guard"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/output"
	"github.com/linkspan/linkspan/internal/portsocket"
	"github.com/linkspan/linkspan/internal/resolver"
	"github.com/linkspan/linkspan/internal/userproxy"
	"github.com/linkspan/linkspan/internal/wireguard"
)

const (
	// adoptTime bounds the adoption of what another keeper handed over.
	adoptTime = 15 * time.Second
	// lingerTime is how long connections through the forwarder may go on in a keeper
	// that was replaced.
	lingerTime = time.Hour
)

// estate is everything that this keeper holds.
type estate struct {
	names   *resolver.Server
	leases  *dhcp.Client
	ports   *hostports.Reserver
	proxy   *userproxy.Server
	outputs *output.Outputs
	tunnels *wireguard.Server
	// firewall is looked after while there is no daemon. It is no reason to go on: without
	// containers, nothing has to be kept from them.
	firewall *guard.Guard
	log      *slog.Logger

	away bool // released, and not adopted again; calls of Estate come one by one
}

// Empty implements serve.Estate.
func (e *estate) Empty() bool {
	for _, row := range e.names.Rows() {
		if row.Key().Kind == desired.KindResolver {
			return false
		}
	}
	for _, row := range e.proxy.Rows() {
		if row.Key().Kind != desired.KindPolicy { // that an internal network is there is nothing to keep
			return false
		}
	}
	return len(e.tunnels.Rows()) == 0 && e.leases.Empty() && len(e.ports.Reserved()) == 0 && len(e.outputs.List()) == 0
}

// Release implements serve.Estate.
func (e *estate) Release() (wire.Inventory, []wire.Descriptor, error) {
	var i wire.Inventory
	var all []wire.Descriptor
	add := func(f *os.File, kind, whose string) {
		if f != nil {
			all = append(all, wire.Descriptor{File: f, Label: wire.Label{Kind: kind, For: whose}})
		}
	}
	for _, row := range append(e.rows(), e.tunnels.Release()...) {
		if packed, ok := wire.PackRow("", row); ok {
			i.Rows = append(i.Rows, packed)
		}
	}
	e.releaseFirewall(&i)
	for _, h := range append(e.proxy.HandOver(), e.ports.HandOver()...) { // who reads from the sockets stops first
		add(h.File, wire.LabelPort, h.Name)
	}
	for _, h := range e.names.Release() {
		add(h.UDP, wire.LabelDNSUDP, h.Namespace)
		add(h.TCP, wire.LabelDNSTCP, h.Namespace)
	}
	for _, h := range e.outputs.Release() {
		i.Outputs = append(i.Outputs, wire.HandedOutput{Output: h.Output, Begun: h.Begun, Partial: h.Partial})
		add(h.Files[wire.LabelStdout], wire.LabelStdout, string(h.Output.Container))
		add(h.Files[wire.LabelStderr], wire.LabelStderr, string(h.Output.Container))
	}
	e.leases.Pause()
	e.away = true
	return i, all, nil
}

// resumeLeases goes on with the leases of the keeper that was here before.
func (e *estate) resumeLeases() {
	if err := e.leases.Resume(); err != nil {
		e.log.Error("leases of before are not known", "op", "keeper.start", "err", err)
	}
}

// rows is all that a successor has to be given.
func (e *estate) rows() []desired.Row {
	all := append(e.names.Rows(), e.proxy.Rows()...)
	for _, row := range e.ports.Reserved() {
		all = append(all, row)
	}
	return all
}

// Adopt implements serve.Estate.
func (e *estate) Adopt(i wire.Inventory, descriptors []wire.Descriptor) error {
	e.away = false
	e.resumeLeases()
	sockets := map[string]*resolver.Handed{}
	var ports []portsocket.Handed
	files := map[model.ContainerID]map[string]*os.File{}
	for _, d := range descriptors {
		switch d.Label.Kind {
		case wire.LabelDNSUDP, wire.LabelDNSTCP:
			h := sockets[d.Label.For]
			if h == nil {
				h = &resolver.Handed{Namespace: d.Label.For}
				sockets[d.Label.For] = h
			}
			if d.Label.Kind == wire.LabelDNSUDP {
				h.UDP = d.File
			} else {
				h.TCP = d.File
			}
		case wire.LabelPort:
			ports = append(ports, portsocket.Handed{Name: d.Label.For, File: d.File})
		case wire.LabelStdout, wire.LabelStderr:
			id := model.ContainerID(d.Label.For)
			if files[id] == nil {
				files[id] = map[string]*os.File{}
			}
			files[id][d.Label.Kind] = d.File
		default:
			e.log.Warn("a descriptor of a kind that this release does not know", "op", "keeper.adopt", "kind", d.Label.Kind)
			d.File.Close() //nolint:errcheck // nothing was written through it
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), adoptTime)
	defer cancel()
	e.adoptFirewall(i)
	all, err := unpack(i.Rows)
	return errors.Join(err, e.adoptOutputs(i.Outputs, files), e.adoptNames(ctx, all, sockets), e.adoptPorts(ctx, all, ports), e.tunnels.Adopt(ctx, all))
}

// unpack returns the rows of kinds that this release knows.
func unpack(rows []wire.Row) (all []desired.Row, err error) {
	for _, row := range rows {
		owned, bad := row.Unpack()
		if bad != nil {
			err = errors.Join(err, bad)
			continue
		}
		all = append(all, owned.Row)
	}
	return all, err
}

func (e *estate) adoptOutputs(outputs []wire.HandedOutput, files map[model.ContainerID]map[string]*os.File) error {
	var handed []output.Handed
	for _, o := range outputs {
		handed = append(handed, output.Handed{Output: o.Output, Begun: o.Begun, Partial: o.Partial, Files: files[o.Output.Container]})
	}
	return e.outputs.Adopt(handed)
}

// adoptPorts holds the ports first, and then serves from them.
func (e *estate) adoptPorts(ctx context.Context, rows []desired.Row, handed []portsocket.Handed) error {
	clients, err := e.ports.Adopt(ctx, handed, rows)
	return errors.Join(err, e.proxy.Adopt(ctx, clients, rows))
}

// adoptNames serves names first, and then whoever asks for them.
func (e *estate) adoptNames(ctx context.Context, rows []desired.Row, sockets map[string]*resolver.Handed) error {
	var handed []resolver.Handed
	for _, h := range sockets {
		handed = append(handed, *h)
	}
	e.names.Adopt(handed)
	var deltas []desired.Delta
	for _, row := range rows {
		deltas = append(deltas, desired.Delta{New: row})
	}
	return e.names.Apply(ctx, deltas)
}

// close finishes what is still on its way, answers and connections that another
// keeper, which has taken over, knows nothing of, unless ctx ends.
func (e *estate) close(ctx context.Context) {
	e.firewall.Close()
	e.tunnels.Close()
	e.leases.Pause()
	if e.away {
		ctx, cancel := context.WithTimeout(ctx, lingerTime)
		defer cancel()
		if err := e.names.Drain(ctx); err != nil {
			e.log.Warn("queries are left unanswered", "op", "keeper.end", "err", err)
		}
		if err := errors.Join(e.ports.Drain(), e.proxy.Drain(ctx)); err != nil {
			e.log.Warn("forwarded connections are cut off", "op", "keeper.end", "err", err)
		}
	}
	if err := errors.Join(e.names.Close(), e.proxy.Close(), e.ports.Close()); err != nil {
		e.log.Warn("not everything is closed", "op", "keeper.end", "err", err)
	}
}

// follower gives clients of the outputs their interface.
type follower struct{ outputs *output.Outputs }

// Follow implements serve.Follower.
func (f follower) Follow(id model.ContainerID, stdout, stderr bool) serve.Client {
	return f.outputs.Follow(id, stdout, stderr)
}

// rows is all that makes rows so.
type rows struct {
	names    *resolver.Server
	proxy    *userproxy.Server
	tunnels  *wireguard.Server
	firewall *guard.Guard
}

// Apply implements serve.Rows.
func (r rows) Apply(ctx context.Context, deltas []desired.Delta) error {
	r.firewall.Apply(deltas)
	return errors.Join(r.tunnels.Apply(ctx, deltas), r.proxy.Apply(ctx, deltas), r.names.Apply(ctx, deltas))
}

// Resync implements serve.Rows.
func (r rows) Resync(ctx context.Context, want desired.State) (desired.Report, error) {
	r.firewall.Resync(want)
	a, errA := r.proxy.Resync(ctx, want)
	b, errB := r.names.Resync(ctx, want)
	c, errC := r.tunnels.Resync(ctx, want)
	return sum(sum(a, b), c), errors.Join(errA, errB, errC)
}

// Check implements serve.Rows.
func (r rows) Check(ctx context.Context, want desired.State) (desired.Report, error) {
	a, errA := r.proxy.Check(ctx, want)
	b, errB := r.names.Check(ctx, want)
	c, errC := r.tunnels.Check(ctx, want)
	return sum(sum(a, b), c), errors.Join(errA, errB, errC)
}

func sum(a, b desired.Report) desired.Report {
	return desired.Report{Drift: append(a.Drift, b.Drift...), Writes: a.Writes + b.Writes}
}

// queries returns the counts by the names that wire gives them.
func queries(s resolver.Stats) wire.Queries {
	out := wire.Queries{Networks: map[model.NetworkID]map[string]uint64{}}
	for id, c := range s.Networks {
		out.Networks[id] = map[string]uint64{
			"local": c.Local, "cached": c.CacheHits, "forwarded": c.Forwarded, "refused": c.Refused,
			"malformed": c.Malformed, "failed": c.Failures, "stale": c.Stale,
		}
	}
	return out
}
