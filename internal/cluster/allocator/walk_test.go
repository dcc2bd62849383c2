package allocator

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/manager/allocator/networkallocator"
)

// world is what swarmkit's store would have.
type world struct {
	t        *testing.T
	r        *rand.Rand
	a        networkallocator.NetworkAllocator
	networks []*api.Network
	tasks    []*api.Task
	services []*api.Service
}

var small = &networkallocator.Config{DefaultAddrPool: []string{"10.8.0.0/20"}, SubnetSize: 28}

func newAllocator(t *testing.T) networkallocator.NetworkAllocator {
	t.Helper()
	a, err := Provider{}.NewAllocator(small)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// step does one thing at random.
func (w *world) step(n int) {
	switch w.r.IntN(8) {
	case 0:
		nw := &api.Network{ID: fmt.Sprint("n", n)}
		if w.r.IntN(3) == 0 { // asked for, and perhaps in the way
			nw.Spec.IPAM = &api.IPAMOptions{Configs: []*api.IPAMConfig{
				{Subnet: fmt.Sprintf("10.8.%d.0/24", w.r.IntN(16))}, {Subnet: fmt.Sprintf("fd00:%x::/64", w.r.IntN(8))}}}
		}
		if w.a.Allocate(nw) == nil {
			w.networks = append(w.networks, nw)
		}
	case 1, 2, 3:
		t := &api.Task{ID: fmt.Sprint("t", n)}
		for _, nw := range w.some() {
			t.Networks = append(t.Networks, &api.NetworkAttachment{Network: nw})
		}
		if len(t.Networks) > 0 && w.a.AllocateTask(t) == nil {
			w.tasks = append(w.tasks, t)
		}
	case 4:
		s := &api.Service{ID: fmt.Sprint("s", n)}
		for _, nw := range w.some() {
			s.Spec.Task.Networks = append(s.Spec.Task.Networks, &api.NetworkAttachmentConfig{Target: nw.ID})
		}
		if w.a.AllocateService(s) == nil {
			w.services = append(w.services, s)
		}
	case 5, 6:
		if len(w.tasks) > 0 {
			i := w.r.IntN(len(w.tasks))
			if err := w.a.DeallocateTask(w.tasks[i]); err != nil {
				w.t.Fatal(err)
			}
			w.tasks = append(w.tasks[:i:i], w.tasks[i+1:]...)
		}
	case 7:
		if len(w.services) > 0 {
			i := w.r.IntN(len(w.services))
			s := w.services[i]
			s.Spec.Endpoint = &api.EndpointSpec{Mode: api.EndpointSpec_ResolutionMode(w.r.IntN(2))} // to names alone, or back
			if w.a.AllocateService(s) != nil {
				w.services = append(w.services[:i:i], w.services[i+1:]...)
			}
		}
	}
}

// some returns up to three networks.
func (w *world) some() (out []*api.Network) {
	for _, i := range w.r.Perm(len(w.networks)) {
		if len(out) < w.r.IntN(4) {
			out = append(out, w.networks[i])
		}
	}
	return out
}

// check holds that nothing is given twice, and all of it from where it belongs.
func (w *world) check() {
	w.t.Helper()
	held, vnis := map[string]string{}, map[string]string{}
	hold := func(network *api.Network, text, who string) {
		a, err := address(text)
		if err != nil {
			w.t.Fatalf("%s: %v", who, err)
		}
		inside := false
		for _, c := range network.IPAM.Configs {
			inside = inside || netip.MustParsePrefix(c.Subnet).Contains(a)
		}
		key := network.ID + " " + a.String()
		if other, twice := held[key]; twice || !inside {
			w.t.Fatalf("%s has %s of %s, which is %s's; inside: %t", who, a, network.ID, other, inside)
		}
		held[key] = who
	}
	byID := map[string]*api.Network{}
	for i, nw := range w.networks {
		byID[nw.ID] = nw
		for v := range strings.SplitSeq(nw.DriverState.Options[VNIs], ",") {
			if other, twice := vnis[v]; twice {
				w.t.Fatalf("VNI %s of %s is also %s's", v, nw.ID, other)
			}
			vnis[v] = nw.ID
		}
		for _, c := range nw.IPAM.Configs {
			hold(nw, c.Gateway, "gateway")
			for _, other := range w.networks[:i] {
				for _, d := range other.IPAM.Configs {
					if netip.MustParsePrefix(c.Subnet).Overlaps(netip.MustParsePrefix(d.Subnet)) {
						w.t.Fatalf("%s of %s overlaps %s of %s", c.Subnet, nw.ID, d.Subnet, other.ID)
					}
				}
			}
		}
	}
	for _, t := range w.tasks {
		if !w.a.IsTaskAllocated(t) {
			w.t.Fatalf("%s is not allocated", t.ID)
		}
		for _, at := range t.Networks {
			if len(at.Addresses) != len(at.Network.IPAM.Configs) {
				w.t.Fatalf("%s has %v on a network with %d subnets", t.ID, at.Addresses, len(at.Network.IPAM.Configs))
			}
			for _, text := range at.Addresses {
				hold(at.Network, text, t.ID)
			}
		}
	}
	for _, s := range w.services {
		if !w.a.IsServiceAllocated(s) {
			w.t.Fatalf("%s is not allocated", s.ID)
		}
		for _, v := range s.Endpoint.VirtualIPs {
			hold(byID[v.NetworkID], v.Addr, s.ID)
		}
	}
}

// TestNothingIsGivenTwice plays networks, tasks and services at random; now and then
// another manager takes over with what is stored.
func TestNothingIsGivenTwice(t *testing.T) {
	for seed := range uint64(20) {
		w := &world{t: t, r: rand.New(rand.NewPCG(seed, 1)), a: newAllocator(t)}
		for n := range 300 {
			w.step(n)
			w.check()
			if w.r.IntN(60) == 0 {
				w.takeOver()
				w.check()
			}
		}
		if len(w.networks) < 3 || len(w.tasks) < 3 {
			t.Errorf("seed %d: only %d networks and %d tasks: too little was played", seed, len(w.networks), len(w.tasks))
		}
	}
}

// takeOver is what a new leader does: all of it again, from the store.
func (w *world) takeOver() {
	w.t.Helper()
	before := fmt.Sprint(w.networks, w.tasks, w.services)
	w.a = newAllocator(w.t)
	for _, nw := range w.networks {
		if err := w.a.Allocate(nw); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, s := range w.services {
		if err := w.a.AllocateService(s); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, task := range w.tasks {
		if err := w.a.AllocateTask(task); err != nil {
			w.t.Fatal(err)
		}
	}
	if after := fmt.Sprint(w.networks, w.tasks, w.services); after != before {
		w.t.Fatalf("what was given changed:\n%s\n%s", before, after)
	}
}

// TestExhaustion: who comes too late is told so, and what he gave back others have.
func TestExhaustion(t *testing.T) {
	a := newAllocator(t)
	nw := &api.Network{ID: "n", Spec: api.NetworkSpec{IPAM: &api.IPAMOptions{Configs: []*api.IPAMConfig{{Subnet: "10.9.0.0/29"}}}}}
	if err := a.Allocate(nw); err != nil {
		t.Fatal(err)
	}
	task := func(id string, asked ...string) *api.Task {
		return &api.Task{ID: id, Networks: []*api.NetworkAttachment{{Network: nw, Addresses: asked}}}
	}
	var first *api.Task
	for i := range 5 {
		one := task(fmt.Sprint(i))
		if err := a.AllocateTask(one); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = one
		}
	}
	for _, c := range []struct{ asked, want string }{
		{"", "all of the network's IPv4 addresses are taken (6 are held"},
		{"10.9.0.2", "Address already in use"},
		{"10.9.1.2", "in no subnet of the network"},
		{"fd00::2", "in no subnet of the network"},
		{"nonsense", "could not parse address string nonsense"},
	} {
		late := task("late")
		if c.asked != "" {
			late = task("late", c.asked)
		}
		if err := a.AllocateTask(late); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.asked, err, c.want)
		}
	}
	if err := a.DeallocateTask(first); err != nil {
		t.Fatal(err)
	}
	again := task("again", "10.9.0.2")
	if err := a.AllocateTask(again); err != nil || again.Networks[0].Addresses[0] != "10.9.0.2/29" {
		t.Errorf("%v, %v", again.Networks[0].Addresses, err)
	}
}

func TestProviderRefuses(t *testing.T) {
	p := Provider{}
	for name, want := range map[string]string{"": "driver name", "smoke": "plugin smoke not supported", "overlay": "", "macvlan": "", "bridge": ""} {
		err := p.ValidateNetworkDriver(&api.Driver{Name: name})
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("driver %q: %v", name, err)
		}
	}
	if err := p.ValidateIngressNetworkDriver(&api.Driver{Name: "bridge"}); err == nil || !strings.Contains(err.Error(), "only overlay driver") {
		t.Error(err)
	}
	if err := p.ValidateIPAMDriver(&api.Driver{Name: "dhcp"}); err == nil {
		t.Error("another IPAM is taken")
	}
	for _, err := range []error{p.ValidateNetworkDriver(nil), p.ValidateIngressNetworkDriver(nil), p.ValidateIPAMDriver(nil), p.ValidateIPAMDriver(&api.Driver{Name: "default"})} {
		if err != nil {
			t.Error(err)
		}
	}
}
