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
	"github.com/linkspan/linkspan/internal/ops/overlays"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/state"
)

// overHosts is network n of those over hosts; those with an odd number are encrypted.
func overHosts(n int) model.Network {
	out := model.Network{
		ID: model.NetworkID(fmt.Sprintf("network%05d%013d", n, 0)), Name: fmt.Sprint("n", n), Driver: model.DriverOverlay, Scope: model.ScopeSwarm, IPv4: true,
		Options: map[string]string{"com.docker.network.driver.overlay.vxlanid_list": fmt.Sprint(4096 + n)},
		IPAM:    model.IPAM{Pools: []model.Pool{{Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), 0}), 24), Gateway: netip.AddrFrom4([4]byte{10, 0, byte(n), 1})}}},
	}
	if n%2 == 1 {
		out.Options[model.OptionEncrypted] = ""
	}
	return out
}

// known draws what might be known of a network.
func known(r *rand.Rand, n model.Network) facts.Overlay {
	o := facts.Overlay{ID: n.ID}
	if r.IntN(4) == 0 {
		return o
	}
	o.Local, o.Port, o.MTU = netip.MustParseAddr("192.0.2.1"), 4789, 1390
	if n.Encrypted() {
		o.Tunnel = facts.Tunnel{Port: 4790, PublicKey: "own", KeyFile: "/key"}
	}
	for _, i := range r.Perm(4)[:r.IntN(4)] {
		o.Remotes = append(o.Remotes, model.Remote{
			Network: n.ID, Endpoint: model.EndpointID(fmt.Sprint(i)), Node: fmt.Sprint("node", i), VTEP: netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}),
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + i)})}, PublicKey: fmt.Sprint("key", i),
		})
	}
	return o
}

// TestTunnelFollows: whatever becomes of networks and of what is known of them, in any order,
// the tunnel that all encrypted ones share is as if it was planned anew, there as long as
// one of them sends by it, and gone after that.
func TestTunnelFollows(t *testing.T) {
	there := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 3))
		in := plan.Input{Snapshot: state.Empty(), Drivers: all.Drivers()}
		have := full(t, in)
		for step := range 30 {
			n := overHosts(r.IntN(4))
			var owners []desired.Owner
			if r.IntN(2) == 0 {
				f := known(r, n)
				owners = plan.OwnersOf(in.Snapshot, in.Facts, f)
				in.Facts = in.Facts.With(f)
			} else {
				op := overlays.Put(n)
				if r.IntN(2) == 0 {
					op = overlays.Drop(n.ID)
				}
				tx := ops.Begin(in.Snapshot, in.Facts, in.Drivers)
				if err := op(tx); err != nil {
					t.Fatal(err)
				}
				var changes []state.Change
				in.Snapshot, changes = tx.Commit()
				owners = plan.Owners(changes, in.Drivers)
			}
			var err error
			if have, err = in.Update(have, owners); err != nil {
				t.Fatal(err)
			}
			if got, want := text(have), text(full(t, in)); got != want {
				t.Fatalf("seed %d, step %d: got\n%s\nwant\n%s", seed, step, got, want)
			}
			sends := strings.Contains(text(have), " by ov-wireguard")
			if sends != strings.Contains(text(have), "wireguard ov-wireguard wg-overlay listen-port 4790") {
				t.Fatalf("seed %d, step %d: the tunnel does not fit in\n%s", seed, step, text(have))
			}
			if sends {
				there++
			}
		}
	}
	if there == 0 {
		t.Error("there was never a tunnel")
	}
}

func full(t *testing.T, in plan.Input) desired.State {
	t.Helper()
	s, err := in.Full()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func text(s desired.State) string {
	var b strings.Builder
	for o := range s.All() {
		fmt.Fprintln(&b, o.Owner, o.Row)
	}
	return b.String()
}
