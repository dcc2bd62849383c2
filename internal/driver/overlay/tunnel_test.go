package overlay

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// secret is what is known of an encrypted network, of which remotes are the others.
func secret(local string, remotes ...model.Remote) facts.Overlay {
	a := netip.MustParseAddr(local)
	return facts.Overlay{
		ID: network().ID, Local: a, Port: 4789, MTU: 1500 - model.WireGuardOverhead(a) - model.VXLANOverhead(a), Remotes: remotes,
		Tunnel: facts.Tunnel{Port: 4790, PublicKey: "own", KeyFile: "/data/key"},
	}
}

// keyed is an endpoint of a node with a key.
func keyed(node, vtep, key string) model.Remote {
	return model.Remote{
		Endpoint: model.EndpointID(node), Node: node, VTEP: netip.MustParseAddr(vtep), PublicKey: key, Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.9")},
	}
}

func tunnel(of ...facts.Overlay) (out []string) {
	for _, r := range (Driver{}).Tunnel(of) {
		out = append(out, r.String())
	}
	return out
}

// TestTunnel: one interface, alone in its namespace, with the host's own address, by which
// all is sent; what fits into the way outside fits into what is sent there.
func TestTunnel(t *testing.T) {
	got := tunnel(secret("192.0.2.1", keyed("b", "192.0.2.2", "B")), secret("192.0.2.1", keyed("c", "192.0.2.3", "C"), keyed("b", "192.0.2.2", "B")))
	want := []string{
		"namespace ov-wireguard",
		"sysctl ov-wireguard net/ipv4/ip_forward = 0",
		"link ov-wireguard wg-overlay type wireguard mtu 1440",
		"sysctl ov-wireguard net/ipv6/conf/wg-overlay/disable_ipv6 = 1",
		"addr ov-wireguard wg-overlay 192.0.2.1/32",
		"route ov-wireguard 0.0.0.0/0 dev wg-overlay",
		"wireguard ov-wireguard wg-overlay listen-port 4790 mtu 1440 public-key own private-key /data/key",
		"wireguard-peer ov-wireguard wg-overlay allowed-ips 192.0.2.2 endpoint 192.0.2.2:4790 public-key B",
		"wireguard-peer ov-wireguard wg-overlay allowed-ips 192.0.2.3 endpoint 192.0.2.3:4790 public-key C",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	got = tunnel(secret("2001:db8::1", keyed("b", "2001:db8::2", "B")))
	for _, line := range []string{
		"sysctl ov-wireguard net/ipv6/conf/all/forwarding = 0",
		"link ov-wireguard wg-overlay type wireguard mtu 1420",
		"sysctl ov-wireguard net/ipv6/conf/wg-overlay/disable_ipv6 = 0",
		"addr ov-wireguard wg-overlay 2001:db8::1/128",
		"route ov-wireguard ::/0 dev wg-overlay",
		"wireguard-peer ov-wireguard wg-overlay allowed-ips 2001:db8::2 endpoint [2001:db8::2]:4790 public-key B",
	} {
		if !slices.Contains(got, line) {
			t.Errorf("no %s in\n%s", line, strings.Join(got, "\n"))
		}
	}
	if got := tunnel(); got != nil {
		t.Errorf("without a network: %v", got)
	}
}

// TestEncryptedNetwork: its packets leave by the tunnel, under another name than they would
// leave the host in clear; while there is no key they do not leave at all.
func TestEncryptedNetwork(t *testing.T) {
	v := view(remote("two", "192.0.2.2", "10.0.1.12"))
	plain := of("link", plan(t, v))
	v.Network.Options = map[string]string{OptionVNIs: "4097", model.OptionEncrypted: ""}
	if got := of("link", plan(t, v)); len(got) != 0 {
		t.Errorf("without a key: %v", got)
	}
	v.Overlay.Tunnel = facts.Tunnel{Port: 4790, PublicKey: "own"}
	got := of("link", plan(t, v))
	if len(got) != 1 || !strings.HasSuffix(got[0], " id 4097 local 192.0.2.1 dstport 4789 by ov-wireguard") || strings.Fields(got[0])[2] == strings.Fields(plain[0])[2] {
		t.Errorf("%v, and in clear %v", got, plain)
	}
	v.Overlay.MTU = 0
	if size, err := mtu(v); size != 1390 || err != nil {
		t.Errorf("mtu %d, %v", size, err)
	}
}

// TestContradictions: whatever others say, no two hosts have one address, one key or one
// name in the tunnel, none has this host's, and who is contradicted by nobody is in it.
func TestContradictions(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		pick := func(what string, n int) string { return what + strconv.Itoa(r.IntN(n)) }
		var said []model.Remote
		for range r.IntN(8) {
			said = append(said, keyed(pick("node", 6), pick("192.0.2.", 7), pick("key", 7)))
		}
		self := identity{vtep: netip.MustParseAddr("192.0.2.1"), key: "key1"}
		got := peers([]facts.Overlay{{Remotes: said[:len(said)/2]}, {Remotes: said[len(said)/2:]}}, self)
		if !slices.IsSortedFunc(got, func(a, b identity) int { return a.vtep.Compare(b.vtep) }) {
			t.Fatalf("seed %d: %v", seed, got)
		}
		for _, s := range said {
			i := identity{s.Node, s.VTEP, s.PublicKey}
			clash := i.vtep == self.vtep || i.key == self.key
			for _, o := range said {
				other := identity{o.Node, o.VTEP, o.PublicKey}
				clash = clash || other != i && (other.node == i.node || other.vtep == i.vtep || other.key == i.key)
			}
			if slices.Contains(got, i) == clash {
				t.Fatalf("seed %d: %v among %v gave %v", seed, i, said, got)
			}
		}
	}
}
