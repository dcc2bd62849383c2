package stream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// world is a swarm: managers and hosts, and the connections between them. All runs in a
// synctest bubble.
type world struct {
	t        *testing.T
	managers map[string]*Reflector
	hosts    map[string]*host
	refused  func(model.Remote) bool // that the swarm does not know of
	mute     atomic.Bool             // the swarm does not answer

	mu    sync.Mutex
	conns map[[2]string]net.Conn // of hosts to managers
	cut   map[[2]string]bool
	work  sync.WaitGroup
}

// host is what a host has, and its client.
type host struct {
	*Client
	name     string
	rows     map[model.EndpointID]model.Remote
	networks map[model.NetworkID]bool
}

func newWorld(t *testing.T, managers, hosts int) *world {
	w := &world{t: t, managers: map[string]*Reflector{}, hosts: map[string]*host{}, conns: map[[2]string]net.Conn{}, cut: map[[2]string]bool{}}
	for i := range managers {
		w.start(fmt.Sprintf("m%d", i))
	}
	for i := range hosts {
		w.join(fmt.Sprintf("h%d", i))
	}
	return w
}

func (w *world) start(name string) {
	holds := func(_ context.Context, r model.Remote) (held, known bool) {
		return !w.mute.Load() && (w.refused == nil || !w.refused(r)), !w.mute.Load()
	}
	w.managers[name] = NewReflector(holds, DefaultGrace, slog.New(slog.DiscardHandler))
}

func (w *world) names() (out []string) {
	for name := range w.managers {
		out = append(out, name)
	}
	return out
}

func (w *world) join(name string) *host {
	h := &host{name: name, rows: map[model.EndpointID]model.Remote{}, networks: map[model.NetworkID]bool{"a": true, "b": true}}
	h.Client = NewClient(w.dial(name), nil, DefaultGrace, slog.New(slog.DiscardHandler))
	h.SetManagers(w.names())
	w.hosts[name] = h
	h.publish()
	return h
}

func (h *host) publish() {
	var rows []model.Remote
	var networks []model.NetworkID
	for _, r := range h.rows {
		rows = append(rows, r)
	}
	for n := range h.networks {
		networks = append(networks, n)
	}
	h.Publish(rows, networks)
}

func (w *world) dial(name string) Dial {
	return func(_ context.Context, manager string) (net.Conn, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		way := [2]string{name, manager}
		r := w.managers[manager]
		if w.cut[way] || r == nil {
			return nil, errors.New("no way")
		}
		ours, theirs := net.Pipe()
		w.conns[way] = ours
		w.work.Go(func() { _ = r.Serve(context.Background(), theirs, name) })
		return ours, nil
	}
}

// lose breaks a connection; with cut there is none until it is mended.
func (w *world) lose(host, manager string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	way := [2]string{host, manager}
	w.cut[way] = cut
	if c := w.conns[way]; c != nil {
		_ = c.Close()
	}
}

func (w *world) end() {
	for _, h := range w.hosts {
		h.Close(w.t.Context(), false)
	}
	for _, m := range w.managers {
		m.Close()
	}
	w.work.Wait()
}

// want is what a host is to know: all that the others have on its networks.
func (w *world) want(h *host) string {
	var rows []model.Remote
	for _, other := range w.hosts {
		for _, r := range other.rows {
			if other != h && h.networks[r.Network] {
				r.Node = other.name
				rows = append(rows, r)
			}
		}
	}
	return text(rows)
}

func text(rows []model.Remote) string {
	slices.SortFunc(rows, func(a, b model.Remote) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Node, b.Node))
	})
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%s %s of %s at %s: %v %v %t %v", r.Network, r.Endpoint, r.Node, r.VTEP, r.Addrs, r.Names, r.Serving, *r.Service))
	}
	return strings.Join(out, "\n")
}

func (w *world) check(what string) {
	w.t.Helper()
	synctest.Wait()
	for _, h := range w.hosts {
		if got, want := text(h.Table()), w.want(h); got != want {
			w.t.Fatalf("%s: %s knows\n%s\nbut there is\n%s", what, h.name, got, want)
		}
	}
}

// pass lets time go by, which costs none in a bubble.
func pass(d time.Duration) {
	time.Sleep(d) // in a bubble of synctest: the clock goes on when nobody has anything to do
}

func row(network string, id int, addr int, vtep int, names ...string) model.Remote {
	return model.Remote{
		Network: model.NetworkID(network), Endpoint: model.EndpointID(fmt.Sprint("e", id)), VTEP: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + vtep)}),
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(addr / 250), byte(1 + addr%250)})}, Names: names,
		Service: &model.ServiceEndpoint{Service: "s", Name: "shop", Task: fmt.Sprint("t", id), Ingress: []model.IngressPort{{Protocol: model.TCP, Target: 80, Published: 8080}}},
		Serving: addr%2 == 0,
	}
}

// TestWalk plays what can happen to a swarm in random order: endpoints come, change and go,
// connections break, managers restart, hosts leave and come back. While there is one way
// and nothing is cut, everybody knows all at once; after all else, once the grace is over.
func TestWalk(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 7))
				w := newWorld(t, 1+int(seed%3), 4)
				pass(time.Second)
				for range 30 {
					w.step(random)
					if random.IntN(3) == 0 {
						pass(time.Duration(random.IntN(20_000)) * time.Millisecond)
					}
				}
				w.mu.Lock()
				clear(w.cut)
				w.mu.Unlock()
				pass(DefaultGrace + againLast + patience)
				w.check("at last")
				h := w.hosts["h0"]
				if h == nil {
					h = w.join("h0")
					pass(DefaultGrace)
				}
				late := row("a", 9999, 9999, 0, "late")
				h.rows[late.Endpoint] = late
				h.publish()
				w.check("one more")
				w.end()
			})
		})
	}
}

func (w *world) step(random *rand.Rand) {
	pick := func() *host {
		names := make([]string, 0, len(w.hosts))
		for n := range w.hosts {
			names = append(names, n)
		}
		slices.Sort(names)
		return w.hosts[names[random.IntN(len(names))]]
	}
	managers := w.names()
	slices.Sort(managers)
	m, h := managers[random.IntN(len(managers))], pick()
	switch n := random.IntN(20); {
	case n < 8:
		id := random.IntN(1000)
		network := []string{"a", "b", "c"}[random.IntN(3)]
		vtep := int(h.name[1] - '0')
		r := row(network, id, id*4+vtep, vtep, fmt.Sprint("n", random.IntN(3)))
		r.Endpoint += model.EndpointID(h.name)
		h.rows[r.Endpoint] = r
		h.publish()
	case n < 12:
		for id := range h.rows {
			delete(h.rows, id)
			break
		}
		h.publish()
	case n < 13:
		h.networks["b"] = !h.networks["b"]
		if !h.networks["b"] {
			delete(h.networks, "b")
		}
		h.publish()
	case n < 16:
		w.lose(h.name, m, random.IntN(2) == 0)
	case n < 18:
		w.lose(h.name, m, false)
	case n < 19: // the manager starts again, and knows nothing
		w.mu.Lock()
		w.managers[m].Close()
		w.start(m)
		w.mu.Unlock()
	default:
		h.Close(w.t.Context(), random.IntN(2) == 0)
		delete(w.hosts, h.name)
		if len(w.hosts) == 0 || random.IntN(2) == 0 {
			w.join(h.name)
		}
	}
}

// TestGoneAtOnce: what a host takes back, and what a host had that leaves, nobody knows any
// more a moment later; what a host had that is silent, after the grace.
func TestGoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3)
		for i, name := range []string{"h0", "h1", "h2"} {
			w.hosts[name].rows["x"] = row("a", 0, i, i, "any")
			w.hosts[name].publish()
		}
		pass(time.Second)
		w.check("all three")
		delete(w.hosts["h0"].rows, "x")
		w.hosts["h0"].publish()
		w.check("one took its back")
		w.hosts["h1"].Close(t.Context(), true)
		delete(w.hosts, "h1")
		w.check("one left")
		silent := w.hosts["h2"]
		w.lose("h2", "m0", true)
		synctest.Wait()
		if len(w.hosts["h0"].Table()) != 1 {
			t.Error("a host that is silent for a moment is forgotten")
		}
		delete(w.hosts, "h2")
		pass(DefaultGrace + time.Second)
		w.check("one was silent")
		if len(silent.Table()) != 0 {
			t.Error("h0 has nothing, and is still known")
		}
		w.hosts["h2"] = silent
		w.end()
	})
}

// TestMoves: an address is of whoever came last, and of the one before again when that goes.
func TestMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 3)
		pass(time.Second)
		at := func() string {
			synctest.Wait()
			var out []string
			for _, r := range w.hosts["h2"].Table() {
				out = append(out, r.Node)
			}
			return strings.Join(out, " ")
		}
		for _, h := range []string{"h1", "h0"} {
			w.hosts[h].rows["x"] = row("a", 0, 50, int(h[1]-'0'))
			w.hosts[h].publish()
			if got := at(); got != h {
				t.Fatalf("the address is at %q, not at %s", got, h)
			}
		}
		clear(w.hosts["h0"].rows)
		w.hosts["h0"].publish()
		if got := at(); got != "h1" {
			t.Fatalf("the address is at %q", got)
		}
		w.end()
	})
}

// TestKept: a host that starts goes on with what it knew, until a manager has heard of all.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		w.hosts["h0"].rows["x"] = row("a", 0, 1, 0, "one")
		w.hosts["h0"].publish()
		pass(time.Second)
		old, stale := w.hosts["h1"].Table(), row("a", 5, 7, 3)
		stale.Node = "h9" // which is no more
		w.hosts["h1"].Close(t.Context(), false)
		c := NewClient(func(context.Context, string) (net.Conn, error) { return nil, errors.New("no way") }, append(old, stale), DefaultGrace, slog.New(slog.DiscardHandler))
		c.Publish(nil, []model.NetworkID{"a"})
		c.SetManagers([]string{"m0"})
		pass(time.Hour)
		if got := c.Table(); len(got) != 2 {
			t.Errorf("without managers: %v", got)
		}
		c.Close(t.Context(), false)
		c = NewClient(w.dial("h1"), append(old, stale), DefaultGrace, slog.New(slog.DiscardHandler))
		c.Publish(nil, []model.NetworkID{"a"})
		c.SetManagers([]string{"m0"})
		pass(DefaultGrace + time.Second)
		if got := text(c.Table()); got != text(old) {
			t.Errorf("with one: %v", got)
		}
		c.Close(t.Context(), false)
		w.end()
	})
}

// TestDoubt: what the swarm does not know of nobody is told, until it does.
func TestDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		unknown := true
		w := newWorld(t, 1, 2)
		w.refused = func(model.Remote) bool { mu.Lock(); defer mu.Unlock(); return unknown }
		pass(time.Second)
		w.hosts["h0"].rows["x"] = row("a", 0, 1, 0)
		w.hosts["h0"].publish()
		pass(5 * time.Second)
		if got := w.hosts["h1"].Table(); len(got) != 0 {
			t.Errorf("told of %v", got)
		}
		mu.Lock()
		unknown = false
		mu.Unlock()
		pass(2 * proveEvery)
		w.check("proved")
		w.end()
	})
}

// TestServiceOfARow: what a row says of a service is bounded, and a change of it is one.
func TestServiceOfARow(t *testing.T) {
	good := row("a", 1, 2, 3, "x")
	if !valid(good) || !same(good, row("a", 1, 2, 3, "x")) {
		t.Error("a row is none, or is not the same as itself")
	}
	for name, change := range map[string]func(*model.Remote){
		"readiness": func(r *model.Remote) { r.Serving = !r.Serving },
		"port":      func(r *model.Remote) { r.Service.Ingress[0].Target++ },
		"address":   func(r *model.Remote) { r.Service.VIPs = []netip.Addr{netip.MustParseAddr("10.0.0.9")} },
		"none":      func(r *model.Remote) { r.Service = nil },
	} {
		other := row("a", 1, 2, 3, "x")
		if change(&other); same(good, other) || !valid(other) {
			t.Errorf("%s: no change, or no row", name)
		}
	}
	for name, spoil := range map[string]func(*model.ServiceEndpoint){
		"no name":    func(s *model.ServiceEndpoint) { s.Name = "" },
		"protocol":   func(s *model.ServiceEndpoint) { s.Ingress[0].Protocol = "icmp" },
		"port 0":     func(s *model.ServiceEndpoint) { s.Ingress[0].Published = 0 },
		"many ports": func(s *model.ServiceEndpoint) { s.Ingress = slices.Repeat(s.Ingress, maxPorts+1) },
		"loopback":   func(s *model.ServiceEndpoint) { s.VIPs = []netip.Addr{netip.MustParseAddr("127.0.0.1")} },
	} {
		other := row("a", 1, 2, 3, "x")
		if spoil(other.Service); valid(other) {
			t.Errorf("%s: taken for a row", name)
		}
	}
}

// keyed is a row of a host that has a key.
func keyed(r model.Remote, public string) model.Remote {
	r.PublicKey = public
	return r
}

// TestKeys: a row has a key of WireGuard or none, and is another when that is another.
func TestKeys(t *testing.T) {
	const key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
	plain := row("a", 1, 2, 3)
	if !valid(plain) || !valid(keyed(plain, key)) || same(plain, keyed(plain, key)) {
		t.Error("a key is not taken, or not seen")
	}
	for _, bad := range []string{"x", key[1:], key + "=", key + "\n", " " + key, strings.Repeat("A", 43) + "=", strings.ReplaceAll(key, "mo=", "mp=")} {
		if valid(keyed(plain, bad)) {
			t.Errorf("%q is taken for a key", bad)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, m := range []message{
		{}, {Hello: &hello{7}, Networks: &[]model.NetworkID{"a"}, Synced: true}, {Put: []Row{{row("a", 1, 2, 3, "x"), 9}, {keyed(row("b", 4, 5, 6), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="), 10}}, Drop: []ID{{"n", "e"}}, Whole: []string{"n"}, Bye: true},
	} {
		b, err := encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{255, 255, 255, 255, '{'})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := read(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := read(bytes.NewReader(again)); err != nil {
			t.Errorf("what was read is not read again: %v", err)
		}
	})
}

// TestNoLeader: while the swarm does not answer a manager, rows wait for as long as it takes: nothing has refused them.
func TestNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		w.mute.Store(true)
		pass(time.Second)
		w.hosts["h0"].rows["x"] = row("a", 0, 1, 0)
		w.hosts["h0"].publish()
		pass(3 * proveTimes * proveEvery)
		if got := w.hosts["h1"].Table(); len(got) != 0 {
			t.Errorf("told of %v", got)
		}
		w.mute.Store(false)
		pass(2 * proveEvery)
		w.check("the swarm answers again")
		w.end()
	})
}

// TestNoManagerAnyMore: what a manager has said is on its way when it is taken off the list. It counts no more, also not
// if another of that name has come meanwhile.
func TestNoManagerAnyMore(t *testing.T) {
	never := func(ctx context.Context, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	c := NewClient(never, nil, DefaultGrace, slog.New(slog.DiscardHandler))
	defer c.Close(t.Context(), false)
	said := message{Put: []Row{{Remote: row("a", 0, 1, 0)}}, Synced: true}
	for _, left := range [][]string{{}, {"m0"}} {
		c.SetManagers([]string{"m0"})
		c.mu.Lock()
		old := c.links["m0"]
		old.rows, c.current = map[ID]Row{}, old
		c.mu.Unlock()
		c.SetManagers(nil)
		c.SetManagers(left)
		c.take(old, said)
		if got := c.Table(); len(got) != 0 {
			t.Errorf("with managers %v: %v", left, got)
		}
	}
}
