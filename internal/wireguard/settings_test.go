package wireguard

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/linkspan/linkspan/internal/desired"
)

// TestChanges: from any peers to any others, what is done leads there, never has two peers
// with one address, and is nothing if nothing differs.
func TestChanges(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		draw := func() map[wgtypes.Key]peer {
			out := map[wgtypes.Key]peer{}
			for _, i := range r.Perm(6)[:r.IntN(6)] {
				a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
				key := wgtypes.Key{byte(1 + r.IntN(20))}
				if _, taken := out[key]; !taken {
					out[key] = peer{key, netip.AddrPortFrom(a, uint16(4790+r.IntN(2))), netip.PrefixFrom(a, 32)}
				}
			}
			return out
		}
		have, want := draw(), draw()
		at := map[netip.Prefix]wgtypes.Key{}
		for _, p := range have {
			at[p.allowed] = p.key
		}
		for _, c := range changes(have, want) {
			if c.remove {
				delete(have, c.key)
				delete(at, c.allowed)
				continue
			}
			if old, there := have[c.key]; there && at[old.allowed] == c.key {
				delete(at, old.allowed)
			}
			have[c.key], at[c.allowed] = c.peer, c.key // WireGuard takes it from whoever has it
		}
		if fmt.Sprint(sorted(have)) != fmt.Sprint(sorted(want)) || len(changes(have, want)) != 0 || len(at) != len(want) {
			t.Fatalf("seed %d: %v instead of %v", seed, have, want)
		}
	}
}

// TestPeersOf: a key that is none is refused, with where it was said to be.
func TestPeersOf(t *testing.T) {
	row := desired.WireGuardPeer{
		PublicKey: "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=", Allowed: netip.MustParseAddr("2001:db8::2"), Endpoint: netip.MustParseAddrPort("[2001:db8::2]:4790"),
	}
	got, err := peersOf([]desired.WireGuardPeer{row})
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	for _, p := range got {
		want := "public_key=8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a\nendpoint=[2001:db8::2]:4790\n" +
			"persistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=2001:db8::2/128\n"
		if s := (change{p, false}).script(); s != want {
			t.Errorf("%s", s)
		}
	}
	row.PublicKey = "x"
	if _, err := peersOf([]desired.WireGuardPeer{row}); err == nil || !strings.Contains(err.Error(), "[2001:db8::2]:4790") {
		t.Error(err)
	}
}
