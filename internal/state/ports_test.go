package state

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// uses prints what PortUses yields, each once and in order.
func uses(s *Snapshot, p model.Protocol, r model.PortRange) []string {
	var out []string
	for u := range s.PortUses(p, r) {
		out = append(out, fmt.Sprintf("%s %s:%s %t", u.Sandbox, u.Addr, u.Ports, u.Running))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// search is uses by a look at everything.
func search(s *Snapshot, p model.Protocol, r model.PortRange) []string {
	var out []string
	add := func(id model.SandboxID, a netip.Addr, ports model.PortRange, running bool) {
		if ports.Overlaps(r) {
			out = append(out, fmt.Sprintf("%s %s:%s %t", id, a, ports, running))
		}
	}
	for sb := range s.Sandboxes() {
		for _, b := range sb.Ports {
			if b.Protocol == p && b.HostFirst != 0 {
				add(sb.ID, b.Host, b.HostPorts(), sb.Up)
			}
		}
		for _, spec := range sb.Publish {
			if sb.Up || spec.Protocol != p || !spec.Fixed() {
				continue
			}
			if spec.Host.IsValid() {
				add(sb.ID, spec.Host, spec.HostPorts, false)
				continue
			}
			add(sb.ID, netip.IPv4Unspecified(), spec.HostPorts, false)
			add(sb.ID, netip.IPv6Unspecified(), spec.HostPorts, false)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestPortUses writes at random and compares every look-up with a search.
func TestPortUses(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	hosts := []netip.Addr{{}, netip.IPv4Unspecified(), netip.MustParseAddr("10.0.0.1"), netip.IPv6Unspecified()}
	stretch := func(longest int) model.PortRange {
		first := 1 + rng.IntN(1200)
		return model.PortRange{First: uint16(first), Last: uint16(first + rng.IntN(longest))}
	}
	protocol := func() model.Protocol { return []model.Protocol{model.TCP, model.UDP}[rng.IntN(2)] }
	s, found := Empty(), 0
	for range 400 {
		tx := Begin(s, facts.Set{})
		sb := model.Sandbox{ID: model.SandboxID(fmt.Sprint("s", rng.IntN(8))), Up: rng.IntN(2) == 0}
		for range rng.IntN(4) {
			host := stretch([]int{1, 700}[rng.IntN(2)])
			container := model.PortRange{First: host.First, Last: host.Last - uint16(rng.IntN(2)*min(1, int(host.Last-host.First)))}
			sb.Publish = append(sb.Publish, model.PortSpec{Protocol: protocol(), Container: container, Host: hosts[rng.IntN(4)], HostPorts: host})
		}
		for range rng.IntN(3) {
			r := stretch(300)
			sb.Ports = append(sb.Ports, model.PortBinding{Protocol: protocol(), Container: r, Host: hosts[1+rng.IntN(3)], HostFirst: r.First * uint16(rng.IntN(2))})
		}
		if rng.IntN(5) == 0 {
			tx.DeleteSandbox(sb.ID)
		} else {
			tx.PutSandbox(sb)
		}
		s, _ = tx.Commit()
		p, r := protocol(), stretch(400)
		got, want := uses(s, p, r), search(s, p, r)
		if !slices.Equal(got, want) {
			t.Fatalf("%s %s: %v, a search finds %v", p, r, got, want)
		}
		found += len(got)
	}
	if found < 400 {
		t.Errorf("only %d uses were found: the test looks past them", found)
	}
}

// TestPortUsesLookNearby: what is published elsewhere is not looked at.
func TestPortUsesLookNearby(t *testing.T) {
	tx := Begin(Empty(), facts.Set{})
	sb := model.Sandbox{ID: "many", Up: true}
	for port := uint16(1); port < 60000; port += 2 {
		sb.Ports = append(sb.Ports, model.PortBinding{Protocol: model.TCP, Container: model.Port(port), Host: netip.IPv4Unspecified(), HostFirst: port})
	}
	tx.PutSandbox(sb)
	s := tx.View()
	if n := testing.AllocsPerRun(10, func() { uses(s, model.TCP, model.Port(30001)) }); n > 40 {
		t.Errorf("one look-up among 30000 ports allocates %f times", n)
	}
	if got := uses(s, model.TCP, model.Port(30000)); len(got) != 0 {
		t.Errorf("a free port is used by %v", got)
	}
}
