package allocator

import (
	"fmt"
	"slices"
	"testing"

	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/manager/allocator/networkallocator"
)

func overlayNetwork(t *testing.T, a networkallocator.NetworkAllocator, id string, subnets ...string) *api.Network {
	t.Helper()
	nw := &api.Network{ID: id, Spec: api.NetworkSpec{Ipv6Enabled: len(subnets) > 1, IPAM: &api.IPAMOptions{}}}
	for _, s := range subnets {
		nw.Spec.IPAM.Configs = append(nw.Spec.IPAM.Configs, &api.IPAMConfig{Subnet: s})
	}
	if err := a.Allocate(nw); err != nil {
		t.Fatal(err)
	}
	return nw
}

func serviceOn(id string, networks ...string) *api.Service {
	s := &api.Service{ID: id}
	for _, n := range networks {
		s.Spec.Task.Networks = append(s.Spec.Task.Networks, &api.NetworkAttachmentConfig{Target: n})
	}
	return s
}

func vips(s *api.Service) (out []string) {
	for _, v := range s.Endpoint.VirtualIPs {
		out = append(out, v.NetworkID+" "+v.Addr)
	}
	return out
}

// TestServiceKeepsWhatItHad: a service that is to join a network without room stays as the
// store has it, and nobody else is given its address.
func TestServiceKeepsWhatItHad(t *testing.T) {
	a := newAllocator(t)
	overlayNetwork(t, a, "wide", "10.1.0.0/24")
	overlayNetwork(t, a, "left", "10.3.0.0/24")
	overlayNetwork(t, a, "full", "10.2.0.0/29")
	for i := range 5 {
		if err := a.AllocateService(serviceOn(fmt.Sprint("filler", i), "full")); err != nil {
			t.Fatal(err)
		}
	}
	s := serviceOn("s", "wide", "left")
	if err := a.AllocateService(s); err != nil {
		t.Fatal(err)
	}
	before := vips(s)
	s.Spec = serviceOn("s", "wide", "full").Spec
	for range 2 {
		if err := a.AllocateService(s); err == nil || !slices.Equal(vips(s), before) {
			t.Fatalf("%v: %v, before %v", err, vips(s), before)
		}
	}
	for _, n := range []string{"wide", "left"} {
		other := serviceOn("other-"+n, n)
		if err := a.AllocateService(other); err != nil || slices.Contains(before, vips(other)[0]) {
			t.Errorf("%v, %v", vips(other), err)
		}
	}
	s.Spec = serviceOn("s", "wide").Spec
	if err := a.AllocateService(s); err != nil || !slices.Equal(vips(s), before[:1]) || !a.IsServiceAllocated(s) {
		t.Errorf("%v, %v", vips(s), err)
	}
}

// TestAddressOfEachFamily: on a network with both, a service has two; one from before that has
// one gets the other.
func TestAddressOfEachFamily(t *testing.T) {
	a := newAllocator(t)
	overlayNetwork(t, a, "n", "10.1.0.0/24", "fd01::/64")
	s := serviceOn("s", "n")
	s.Endpoint = &api.Endpoint{VirtualIPs: []*api.Endpoint_VirtualIP{{NetworkID: "n", Addr: "10.1.0.9/24"}}}
	if a.IsServiceAllocated(s) {
		t.Error("one of two is enough")
	}
	for range 2 {
		if err := a.AllocateService(s); err != nil || !a.IsServiceAllocated(s) {
			t.Fatal(err)
		}
		if got := vips(s); len(got) != 2 || got[0] != "n 10.1.0.9/24" || got[1] != "n fd01::2/64" {
			t.Errorf("%v", got)
		}
	}
	s.Spec.Endpoint = &api.EndpointSpec{Mode: api.ResolutionModeDNSRoundRobin}
	if a.IsServiceAllocated(s) {
		t.Error("allocated in its former mode")
	}
	if err := a.AllocateService(s); err != nil || len(vips(s)) > 0 || !a.IsServiceAllocated(s) {
		t.Errorf("%v, %v", vips(s), err)
	}
}
