package facts_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
)

func TestSetsDoNotChange(t *testing.T) {
	lease := facts.Endpoint{ID: "e1", Addr4: netip.MustParsePrefix("192.0.2.7/24")}
	var none facts.Set
	one := none.With(facts.Host{BootID: "first"}, lease)
	two := one.With(facts.Endpoint{ID: "e1", Addr4: netip.MustParsePrefix("192.0.2.8/24")}, facts.Endpoint{ID: "e0", Gateway4: netip.MustParseAddr("192.0.2.1")})
	three := two.With(facts.Endpoint{ID: "e1"}, facts.Host{BootID: "second"})
	for _, c := range []struct {
		set       facts.Set
		boot      string
		endpoints []string
	}{
		{none, "", nil},
		{one, "first", []string{"e1 192.0.2.7/24"}},
		{two, "first", []string{"e0 invalid Prefix", "e1 192.0.2.8/24"}},
		{three, "second", []string{"e0 invalid Prefix"}},
	} {
		var got []string
		for e := range c.set.Endpoints() {
			got = append(got, string(e.ID)+" "+e.Addr4.String())
		}
		if c.set.Host.BootID != c.boot || !slices.Equal(got, c.endpoints) {
			t.Errorf("boot %q, endpoints %q, want %q, %q", c.set.Host.BootID, got, c.boot, c.endpoints)
		}
	}
	if one.Endpoint("e1") != lease || !one.Endpoint("e2").Empty() || none.Endpoint("e1").ID != "e1" {
		t.Error("what is known of an endpoint is not found")
	}
}

func TestOwners(t *testing.T) {
	if h, e := (facts.Host{}).Owner(), (facts.Endpoint{ID: "e1"}).Owner(); h != facts.HostOwner || e != "endpoint/e1" {
		t.Errorf("owners %q and %q", h, e)
	}
}
