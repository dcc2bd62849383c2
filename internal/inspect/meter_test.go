package inspect

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// links are the interfaces of namespaces, by their names.
type links map[string][]facts.LinkTraffic

// Links implements LinkReader.
func (l links) Links(_ context.Context, namespace string) ([]facts.LinkTraffic, error) {
	found, ok := l[namespace]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return found, nil
}

func clock() time.Time { return time.Unix(1000, 0) }

// TestMeterReadsEitherEnd: at the host's end what a container sends is received; where that
// is not on the host its own end is looked at; and a container that is gone is left out.
func TestMeterReadsEitherEnd(t *testing.T) {
	e := publishing(t)
	end, _ := e.snapshot.Endpoint("e1")
	at, ok := all.Drivers().AttachedTo(e.snapshot, end)
	if !ok {
		t.Fatal("the container has no port")
	}
	received, sent := facts.Counter{Bytes: 10, Packets: 1}, facts.Counter{Bytes: 30, Packets: 3}
	for name, c := range map[string]struct {
		links links
		found int
	}{
		"host's end": {links{"": {{Link: at.Port, Received: sent, Sent: received}}}, 1},
		"own end":    {links{"": nil, model.NamespaceOf("c1"): {{Link: "lo"}, {Link: end.Interface, Received: received, Sent: sent}}}, 1},
		"renamed":    {links{"": nil, model.NamespaceOf("c1"): {{Link: "mine"}}}, 0},
		"gone":       {links{"": nil}, 0},
	} {
		got, err := New(Options{Engine: e, Drivers: all.Drivers(), Links: c.links}).ReadMeter(t.Context(), clock)
		if err != nil || len(got.Members) != c.found || len(got.Ports) != 1 || !got.At.Equal(clock()) {
			t.Errorf("%s: %+v, %v", name, got, err)
			continue
		}
		if c.found == 1 && (got.Members[0].In != received || got.Members[0].Out != sent || got.Members[0].Sandbox.Name != "web") {
			t.Errorf("%s: %+v", name, got.Members[0])
		}
	}
	if _, err := New(Options{Engine: e, Drivers: all.Drivers(), Links: links{}}).ReadMeter(t.Context(), clock); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the host's counters: %v", err)
	}
	if _, err := New(Options{Engine: e}).ReadMeter(t.Context(), clock); model.KindOf(err) != model.NotImplemented {
		t.Errorf("without a meter: %v", err)
	}
}

func TestRates(t *testing.T) {
	member := func(generation, in, out uint64) MemberMeter {
		return MemberMeter{
			Sandbox: model.Sandbox{Name: "web", Generation: generation}, Network: model.Network{ID: "n", Name: "net"}, Endpoint: model.Endpoint{ID: "e"},
			In: facts.Counter{Bytes: in, Packets: in / 10}, Out: facts.Counter{Bytes: out, Packets: out / 10},
		}
	}
	port := func(bytes, connections uint64) Port {
		return Port{Binding: model.PortBinding{Protocol: model.TCP, HostFirst: 80}, Counts: &facts.PortTraffic{Bytes: bytes, Packets: bytes / 10, Connections: connections}}
	}
	at := func(seconds int64, m MemberMeter, p Port) Meter {
		return Meter{At: time.Unix(seconds, 0), Members: []MemberMeter{m, {Sandbox: model.Sandbox{Name: "idle"}, Network: m.Network, Endpoint: model.Endpoint{ID: "i"}}}, Ports: []Port{p}}
	}
	for name, c := range map[string]struct {
		before, now     Meter
		in, out         float64 // bytes a second
		ports, connects float64
	}{
		"two seconds":     {at(1, member(1, 1000, 0), port(500, 2)), at(3, member(1, 3000, 100), port(700, 4)), 1000, 50, 100, 1},
		"started anew":    {at(1, member(1, 1000, 0), port(500, 2)), at(2, member(2, 3000, 0), port(500, 2)), 0, 0, 0, 0},
		"counts anew":     {at(1, member(1, 1000, 0), port(500, 2)), at(2, member(1, 10, 0), port(20, 1)), 10, 0, 20, 1},
		"no time between": {at(1, member(1, 1000, 0), port(500, 2)), at(1, member(1, 3000, 0), port(700, 2)), 0, 0, 0, 0},
		"port not seen":   {at(1, member(1, 0, 0), Port{}), at(2, member(1, 0, 0), Port{}), 0, 0, 0, 0},
		"port is new":     {at(1, member(1, 0, 0), Port{}), at(2, member(1, 0, 0), port(700, 2)), 0, 0, 0, 0},
	} {
		got := RatesOf(c.before, c.now)
		m, p := got.Members[0], got.Ports[0]
		if m.In.BytesRate != c.in || m.Out.BytesRate != c.out || m.In.PacketsRate != c.in/10 || m.In.Counter != c.now.Members[0].In {
			t.Errorf("%s: %+v", name, m)
		}
		if p.Both.BytesRate != c.ports || p.ConnectionsRate != c.connects || p.Counted != (c.now.Ports[0].Counts != nil) {
			t.Errorf("%s: %+v", name, p)
		}
		if n := got.Networks; len(n) != 1 || n[0].Containers != 2 || n[0].In.BytesRate != c.in || n[0].Out.Bytes != c.now.Members[0].Out.Bytes {
			t.Errorf("%s: %+v", name, n)
		}
	}
}
