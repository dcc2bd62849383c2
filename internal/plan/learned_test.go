package plan_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/plan/plantest"
	"github.com/linkspan/linkspan/internal/state"
)

// built runs requests as stories have them.
func built(t *testing.T, f facts.Set, requests ...string) *state.Snapshot {
	t.Helper()
	s := state.Empty()
	for _, line := range requests {
		tx := ops.Begin(s, f, all.Drivers())
		if err := plantest.Request(t, all.Drivers(), strings.Fields(line))(tx); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		s, _ = tx.Commit()
	}
	return s
}

// changed returns whose rows differ between two plans.
func changed(a, b desired.State) []desired.Owner {
	owners := slices.AppendSeq(slices.Collect(a.Owners()), b.Owners())
	slices.Sort(owners)
	return slices.DeleteFunc(slices.Compact(owners), func(o desired.Owner) bool {
		return len(desired.Diff(a, b, []desired.Owner{o})) == 0
	})
}

// TestOwnersOf changes each fact of the host: whoever's rows follow is named. A
// field that is new must be changed here, too.
func TestOwnersOf(t *testing.T) {
	old := facts.Host{Instance: "golden", UniqueLocal: netip.MustParsePrefix("fd00:1::/48"), BootID: "boot"}
	known := facts.Set{}.With(old)
	s := built(t, known, "host h", "network web subnet=172.20.0.0/16", "container a @web= publish=8080:80", "start a")
	fields := map[string]struct {
		change func(*facts.Host)
		owners int // how many must be named
	}{
		"Instance":       {func(h *facts.Host) { h.Instance = "other" }, 0},
		"Links":          {func(h *facts.Host) { h.Links = []string{"eth7"} }, 0},
		"OnLink":         {func(h *facts.Host) { h.OnLink = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }, 0},
		"Addrs":          {func(h *facts.Host) { h.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.1")} }, 1},
		"MACs":           {func(h *facts.Host) { h.MACs = []string{"02:00:00:00:ff:01"} }, 1},
		"Resolvers":      {func(h *facts.Host) { h.Resolvers = []netip.Addr{netip.MustParseAddr("192.0.2.53")} }, 0},
		"BootID":         {func(h *facts.Host) { h.BootID = "another" }, 0},
		"ForwardingOff4": {func(h *facts.Host) { h.ForwardingOff4 = true }, 0},
		"ForwardingOff6": {func(h *facts.Host) { h.ForwardingOff6 = true }, 0},
		"UniqueLocal":    {func(h *facts.Host) { h.UniqueLocal = netip.MustParsePrefix("fd00:2::/48") }, 0},
		"NoIPv6":         {func(h *facts.Host) { h.NoIPv6 = true }, 0},
		"LocalPorts":     {func(h *facts.Host) { h.LocalPorts = model.PortRange{First: 1, Last: 9} }, 0},
		"ReservedPorts":  {func(h *facts.Host) { h.ReservedPorts = []model.PortRange{{First: 1, Last: 9}} }, 0},
		"Own":            {func(h *facts.Host) { h.Own = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:2375")} }, 0},
		"Packets": {func(h *facts.Host) {
			h.Packets = facts.Packets{Large4: true, Large6: true, Out4: 131072, Out6: 131072}
		}, 4},
	}
	for i := range reflect.TypeFor[facts.Host]().NumField() {
		name := reflect.TypeFor[facts.Host]().Field(i).Name
		field, there := fields[name]
		if !there {
			t.Errorf("nobody changes %s here", name)
			continue
		}
		now := old
		field.change(&now)
		compile := func(f facts.Set) desired.State {
			want, err := plan.Input{Snapshot: s, Facts: f, Drivers: all.Drivers()}.Full()
			if err != nil {
				t.Fatal(err)
			}
			return want
		}
		named := plan.OwnersOf(s, known, now)
		follow := changed(compile(known), compile(known.With(now)))
		if len(named) != field.owners || slices.ContainsFunc(follow, func(o desired.Owner) bool { return !slices.Contains(named, o) }) {
			t.Errorf("%s: rows of %v follow, named are %v", name, follow, named)
		}
	}
}

// TestOwnersOfAnEndpointsFacts: they concern the endpoint and its sandbox.
func TestOwnersOfAnEndpointsFacts(t *testing.T) {
	s := built(t, facts.Set{}, "network web subnet=172.20.0.0/16", "container a @web=", "container b @web=", "start a")
	e, ok := s.EndpointAt(plantest.Sandbox("a").ID, plantest.Network("web", nil).ID)
	if !ok {
		t.Fatal("no endpoint")
	}
	lease := facts.Endpoint{ID: e.ID, Addr4: netip.MustParsePrefix("192.0.2.7/24")}
	want := []desired.Owner{desired.OwnerOf("endpoint", e.ID), desired.OwnerOf("sandbox", e.Sandbox)}
	if got := plan.OwnersOf(s, facts.Set{}, lease); !slices.Equal(got, want) {
		t.Errorf("owners %v, want %v", got, want)
	}
	if got := plan.OwnersOf(s, facts.Set{}.With(lease), lease); len(got) != 0 {
		t.Errorf("nothing is new, and %v are named", got)
	}
	if got := plan.OwnersOf(s, facts.Set{}, facts.Endpoint{ID: "nobody", Addr4: lease.Addr4}); len(got) != 0 {
		t.Errorf("of an endpoint that is not there %v are named", got)
	}
}
