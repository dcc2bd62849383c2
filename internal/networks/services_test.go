package networks

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// TestServicesOfANetwork: those with a task that is ready, on whichever host, and plain
// containers under no name.
func TestServicesOfANetwork(t *testing.T) {
	n := model.Network{ID: "n", Name: "n", Driver: model.DriverOverlay, Scope: model.ScopeSwarm}
	shop := &model.ServiceEndpoint{Service: "s", Name: "shop", VIPs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}}
	tx := state.Begin(state.Empty(), facts.Set{})
	tx.PutNetwork(n)
	for name, e := range map[string]model.Endpoint{
		"shop.1": {Up: true, Service: shop, Addr4: netip.MustParseAddr("10.0.0.1")},
		"shop.2": {Service: shop, Addr4: netip.MustParseAddr("10.0.0.2")},
		"plain":  {Up: true, Addr4: netip.MustParseAddr("10.0.0.3")},
		"slow.1": {Up: true, Service: &model.ServiceEndpoint{Service: "t", Name: "slow"}, Addr4: netip.MustParseAddr("10.0.0.4")},
	} {
		tx.PutSandbox(model.Sandbox{ID: model.SandboxID(name), Name: name, Up: e.Up, Serving: name == "shop.1"})
		e.ID, e.Network, e.Sandbox = model.EndpointID(name), "n", model.SandboxID(name)
		tx.PutEndpoint(e)
	}
	at, _ := tx.Commit()
	far := model.Remote{Endpoint: "far", VTEP: netip.MustParseAddr("192.0.2.2"), Names: []string{"shop.3"}, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.5")}, Service: shop, Serving: true}
	v := View{Network: n, at: at, known: facts.Overlay{ID: "n", Local: netip.MustParseAddr("192.0.2.1"), Remotes: []model.Remote{far}}}
	var got []string
	for _, s := range v.Services() {
		for _, m := range s.Tasks {
			got = append(got, fmt.Sprint(s.Name, " ", s.VIPs, " ", m.Names[0], " ", m.Addrs, " ", m.VTEP))
		}
	}
	want := []string{
		" [] plain [10.0.0.3] 192.0.2.1",
		"shop [10.0.0.9] shop.1 [10.0.0.1] 192.0.2.1",
		"shop [10.0.0.9] shop.3 [10.0.0.5] 192.0.2.2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q", got)
	}
	v.Driver = "bridge"
	if all := v.Services(); len(all) > 0 {
		t.Errorf("on a network of one host: %v", all)
	}
}
