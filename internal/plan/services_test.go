package plan_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/plan/plantest"
)

// TestServicesFollow plays tasks that start, become ready, drain and stop, here and
// elsewhere, at random: after each step what is planned anew equals a plan from nothing, and
// an address of a service leads to those that are ready.
func TestServicesFollow(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		in := plan.Input{Drivers: all.Drivers(), Snapshot: built(t, facts.Set{}, "host .", "overlay ov vni=4097 subnet=10.0.1.0/24 gateway=10.0.1.1",
			"container a @ov=ip:10.0.1.11,service:shop|10.0.1.9", "container b @ov=ip:10.0.1.12,service:shop|10.0.1.9",
			"container c @ov=ip:10.0.1.13,service:bare", "container d @ov=ip:10.0.1.14")}
		network, _ := in.Snapshot.NetworkNamed("ov")
		known := facts.Overlay{ID: network.ID, Local: netip.MustParseAddr("192.0.2.1"), Port: 4789, MTU: 1450}
		have, err := in.Full()
		if err != nil {
			t.Fatal(err)
		}
		for step := range 60 {
			box := string(rune('a' + r.IntN(4)))
			request := []string{"start " + box, "serve " + box, "serve " + box + " ready=false", "stop " + box, ""}[r.IntN(5)]
			var owners []desired.Owner
			if request == "" {
				known.Remotes = remoteTasks(r)
				owners = plan.OwnersOf(in.Snapshot, in.Facts, known)
				in.Facts = in.Facts.With(known)
			} else {
				tx := ops.Begin(in.Snapshot, in.Facts, in.Drivers)
				if plantest.Request(t, in.Drivers, strings.Fields(request))(tx) != nil {
					continue // it is so already
				}
				next, changes := tx.Commit()
				in.Snapshot, owners = next, plan.Owners(changes, in.Drivers)
			}
			if have, err = in.Update(have, owners); err != nil {
				t.Fatal(err)
			}
			full, err := in.Full()
			if err != nil || full.String() != have.String() {
				t.Fatalf("seed %d, step %d, %q: %v\n%s\nand from nothing\n%s", seed, step, request, err, have, full)
			}
			if got, want := leads(have), ready(in, known); got != want {
				t.Fatalf("seed %d, step %d, %q: the address leads to %s, ready are %s", seed, step, request, got, want)
			}
		}
	}
}

// remoteTasks draws what other hosts have.
func remoteTasks(r *rand.Rand) (out []model.Remote) {
	for i := range r.IntN(4) {
		m := model.Remote{
			Endpoint: model.EndpointID(fmt.Sprint("e", i)), VTEP: netip.MustParseAddr("192.0.2.2"), Names: []string{fmt.Sprint("far", i)},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, byte(100 + i)})}, Serving: r.IntN(2) == 0,
		}
		if r.IntN(3) > 0 {
			m.Service = &model.ServiceEndpoint{Service: "id-shop", Name: "shop", VIPs: []netip.Addr{netip.MustParseAddr("10.0.1.9")}}
		}
		out = append(out, m)
	}
	return out
}

// leads returns who gets connections to the service's address.
func leads(s desired.State) string {
	for o := range s.Kind(desired.KindBalance) {
		if b, ok := o.Row.(desired.Balance); ok {
			return fmt.Sprint(b.Backends)
		}
	}
	return "[]"
}

// ready returns those tasks of the service that are up and ready, here and elsewhere.
func ready(in plan.Input, known facts.Overlay) string {
	var out []netip.AddrPort
	for e := range in.Snapshot.EndpointsOn(known.ID) {
		if sb, _ := in.Snapshot.Sandbox(e.Sandbox); e.Up && sb.Serving && e.Service != nil && len(e.Service.VIPs) > 0 {
			out = append(out, netip.AddrPortFrom(e.Addr4, 0))
		}
	}
	for _, r := range known.Remotes {
		if r.Serving && r.Service != nil {
			out = append(out, netip.AddrPortFrom(r.Addrs[0], 0))
		}
	}
	return fmt.Sprint(out)
}
