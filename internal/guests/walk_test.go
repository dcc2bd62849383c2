package guests

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/engine"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/kernel/fake"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/plan/plantest"
	"github.com/linkspan/linkspan/internal/store/mem"
)

type host facts.Host

func (h host) Observe(context.Context) (facts.Host, error) { return facts.Host(h), nil }

type noPorts struct{}

func (noPorts) Reserve(context.Context, []desired.Reserve) error             { return nil }
func (noPorts) Release(context.Context, []desired.Reserve) error             { return nil }
func (noPorts) Reserved(context.Context) (held []desired.Reserve, err error) { return nil, nil }

// spaces are network namespaces: which is at which path, and who lives there. A namespace without a path has ended.
type spaces struct {
	at   map[string]uint64
	made uint64
}

func (s *spaces) Look(path string) (model.Guest, desired.Owner, error) {
	inode, ok := s.at[path]
	if !ok {
		return model.Guest{}, "", model.Errorf(model.NotFound, "there is no network namespace at %s", path)
	}
	return model.Guest{Path: path, Device: 4, Inode: inode, Boot: "boot"}, "", nil
}

func (s *spaces) Inside(string) ([]facts.Inside, error) { return nil, nil }

func (s *spaces) Deserted(guests map[string]model.Guest) (gone []string) {
	living := slices.Collect(maps.Values(s.at))
	for name, g := range guests {
		if !slices.Contains(living, g.Inode) {
			gone = append(gone, name)
		}
	}
	return gone
}

// members counts who is on a network, by what its listeners were told.
type members map[string]int

func (m members) Publish(e events.Message) {
	switch e.Action {
	case "connect":
		m[e.Actor.ID]++
	case "disconnect":
		m[e.Actor.ID]--
	}
}

// membership is one attachment as the test knows it.
type membership struct {
	inode               uint64
	config, container   string
	network, interface_ string
}

// walker plays random requests and keeps in mind what they must have come to.
type walker struct {
	*testing.T
	*Manager
	random *rand.Rand
	spaces *spaces
	told   members
	want   map[membership]bool
}

func newWalker(t *testing.T, seed uint64) *walker {
	maker := ops.NetworkMaker{Drivers: all.Drivers(), Bases: ipam.DefaultBases()}
	e, err := engine.Open(t.Context(), engine.Options{
		Store: &mem.Store{}, Hands: []engine.Hand{&fake.Kernel{}}, Observer: host{Instance: "test", BootID: "boot", Packets: facts.Packets{Large4: true, Large6: true}},
		PortReserver: noPorts{}, Networks: maker, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	for _, name := range []string{"red", "blue"} {
		if _, err := e.Do(t.Context(), maker.Create(plantest.Network(name, map[string]string{"driver": "bridge"}))); err != nil {
			t.Fatal(err)
		}
	}
	w := &walker{T: t, random: rand.New(rand.NewPCG(seed, 0)), spaces: &spaces{at: map[string]uint64{}}, told: members{}, want: map[membership]bool{}}
	w.Manager = New(Options{Engine: e, Namespaces: w.spaces, Events: w.told, Drivers: all.Drivers(), Logger: slog.New(slog.DiscardHandler)})
	return w
}

func (w *walker) pick(from ...string) string { return from[w.random.IntN(len(from))] }
func (w *walker) path() string               { return "/run/netns/" + w.pick("a", "b", "c") }
func (w *walker) container() string          { return w.pick("one", "two", "three") }

// step plays one request.
func (w *walker) step() string {
	switch path := w.path(); w.random.IntN(8) {
	case 0: // a namespace comes, at once or in place of another
		w.spaces.made++
		w.spaces.at[path] = w.spaces.made
		return fmt.Sprintf("namespace %d at %s", w.spaces.made, path)
	case 1: // one is at a second path
		other := w.path()
		if inode, ok := w.spaces.at[path]; ok {
			w.spaces.at[other] = inode
		}
		return other + " is " + path
	case 2:
		delete(w.spaces.at, path)
		return path + " is gone"
	case 3:
		return w.detach()
	case 4:
		return w.collect()
	case 5:
		w.Sweep(w.Context())
		w.forgetDead()
		return "sweep"
	}
	return w.attach(w.path())
}

func (w *walker) attach(path string) string {
	config, container, network, name := w.pick("net1", "net2"), w.container(), w.pick("red", "blue"), w.pick("eth0", "eth1", "eth2")
	inode, there := w.spaces.at[path]
	m := membership{inode, config, container, network, name}
	what := fmt.Sprintf("attach %s to %+v", path, m)
	a, err := w.Attach(w.Context(), Request{Namespace: path, Network: network, Interface: name, Name: container, Claim: model.Claim{Door: model.DoorCNI, Config: config, Container: container}})
	if err == nil && (!there || a.Endpoint.Interface != name || a.Network.Name != network || a.Sandbox.Guest.Inode != inode) {
		w.Fatalf("%s: attached as %+v", what, a)
	}
	taken := false
	for other := range w.want {
		taken = taken || other.inode == inode && (other.interface_ == name || other.network == network) || other.container == container && other.interface_ == name
	}
	if err != nil && there && !taken && !w.named(container, inode) {
		w.Fatalf("%s: %v", what, err)
	}
	w.forgetSwept()
	if err == nil {
		w.want[m] = true
	}
	return fmt.Sprintf("%s: %v", what, err)
}

// named tells whether another guest has the name.
func (w *walker) named(name string, inode uint64) bool {
	for sb := range w.Engine.Snapshot().Sandboxes() {
		if sb.Name == name && sb.Guest.Inode != inode {
			return true
		}
	}
	return false
}

func (w *walker) detach() string {
	ref := Ref{Door: model.DoorCNI, Container: w.container(), Interface: w.pick("", "eth0", "eth1")}
	if err := w.Detach(w.Context(), ref); err != nil {
		w.Fatalf("detach %+v: %v", ref, err)
	}
	maps.DeleteFunc(w.want, func(m membership, _ bool) bool {
		return m.container == ref.Container && (ref.Interface == "" || m.interface_ == ref.Interface)
	})
	return fmt.Sprintf("detach %+v", ref)
}

func (w *walker) collect() string {
	config, used := w.pick("net1", "net2"), Valid{w.container(), "eth0"}
	if _, err := w.Collect(w.Context(), config, []Valid{used}); err != nil {
		w.Fatalf("collect %s but %v: %v", config, used, err)
	}
	maps.DeleteFunc(w.want, func(m membership, _ bool) bool {
		return m.config == config && (m.container != used.Container || m.interface_ != used.Interface)
	})
	w.forgetDead()
	return fmt.Sprintf("collect %s but %v", config, used)
}

func (w *walker) forgetDead() {
	living := slices.Collect(maps.Values(w.spaces.at))
	maps.DeleteFunc(w.want, func(m membership, _ bool) bool { return !slices.Contains(living, m.inode) })
}

// forgetSwept drops what an attach may have removed to make room: guests that are no more.
func (w *walker) forgetSwept() {
	now := map[uint64]bool{}
	for sb := range w.Engine.Snapshot().Sandboxes() {
		now[sb.Guest.Inode] = true
	}
	living := slices.Collect(maps.Values(w.spaces.at))
	maps.DeleteFunc(w.want, func(m membership, _ bool) bool { return !now[m.inode] && !slices.Contains(living, m.inode) })
}

// check compares the manager's list, the listeners' count and the addresses with what must be.
func (w *walker) check(history []string) {
	have, addrs := map[membership]bool{}, map[netip.Addr]bool{}
	on := members{}
	all, err := w.List(Ref{})
	if err != nil {
		w.Fatal(err)
	}
	for _, a := range all {
		c := a.Endpoint.Claim
		have[membership{a.Sandbox.Guest.Inode, c.Config, c.Container, a.Network.Name, a.Endpoint.Interface}] = true
		on[string(a.Network.ID)]++
		if addrs[a.Endpoint.Addr4] || !a.Endpoint.Addr4.IsValid() {
			w.Errorf("address %v is given twice, or none", a.Endpoint.Addr4)
		}
		addrs[a.Endpoint.Addr4] = true
	}
	maps.DeleteFunc(w.told, func(_ string, n int) bool { return n == 0 })
	if !maps.Equal(have, w.want) || len(all) != len(have) || !maps.Equal(on, w.told) {
		w.Fatalf("there is %v\nwant     %v\non networks %v, told %v\nafter %s", slices.Collect(maps.Keys(have)), slices.Collect(maps.Keys(w.want)), on, w.told, strings.Join(history, "\n"))
	}
}

// TestWalk: whatever comes, in whatever order, a guest is on the networks that were asked for and on no other, two have
// never one address, and who listens knows who is there.
func TestWalk(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWalker(t, seed)
			var history []string
			for range 150 {
				history = append(history, w.step())
				w.check(history)
			}
			for path := range w.spaces.at {
				delete(w.spaces.at, path)
			}
			w.Sweep(t.Context())
			w.forgetDead()
			w.check(append(history, "all end"))
			for sb := range w.Engine.Snapshot().Sandboxes() {
				t.Errorf("%s stays", sb.Name)
			}
		})
	}
}

// TestReady: a network is ready exactly as long as one more can join, and asking changes nothing.
func TestReady(t *testing.T) {
	w := newWalker(t, 0)
	maker := ops.NetworkMaker{Drivers: all.Drivers(), Bases: ipam.DefaultBases()}
	for name, args := range map[string]map[string]string{"small": {"driver": "bridge", "subnet": "10.9.0.0/29"}} {
		if _, err := w.Engine.Do(t.Context(), maker.Create(plantest.Network(name, args))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Ready(t.Context(), "nowhere"); model.KindOf(err) != model.NotFound {
		t.Errorf("a network that is not there: %v", err)
	}
	joined := 0
	for ; joined < 10; joined++ {
		path := fmt.Sprintf("/run/netns/%d", joined)
		w.spaces.at[path] = uint64(joined + 1)
		before := w.Engine.Snapshot()
		ready := w.Ready(t.Context(), "small")
		if w.Engine.Snapshot() != before {
			t.Error("asking has changed the state")
		}
		_, err := w.Attach(t.Context(), Request{Namespace: path, Network: "small", Claim: model.Claim{Door: model.DoorAttach}})
		if (ready == nil) != (err == nil) {
			t.Fatalf("with %d: ready says %v, attach %v", joined, ready, err)
		}
		if err != nil {
			break
		}
	}
	if joined != 5 {
		t.Errorf("%d have joined a /29, want 5", joined)
	}
	delete(w.spaces.at, "/run/netns/3") // one is no more
	if err := w.Ready(t.Context(), "small"); err != nil {
		t.Errorf("with a place of one that is no more: %v", err)
	}
}
