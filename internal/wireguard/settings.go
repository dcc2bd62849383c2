package wireguard

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/linkspan/linkspan/internal/desired"
)

// keepalive is how often something is said to a peer, in seconds: a way through NAT stays
// open, a session is there before the first packet, and a host that starts again is noticed.
const keepalive = 25

// peer is another host as an interface knows it.
type peer struct {
	key      wgtypes.Key
	endpoint netip.AddrPort // where it was said to be; the protocol follows it from there
	allowed  netip.Prefix
}

// change is what has to be done about a peer.
type change struct {
	peer
	remove bool
}

// peersOf returns the peers that rows ask for. Errors are those of a key.
func peersOf(rows []desired.WireGuardPeer) (map[wgtypes.Key]peer, error) {
	out := map[wgtypes.Key]peer{}
	for _, r := range rows {
		key, err := wgtypes.ParseKey(r.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("public key of %s: %w", r.Endpoint, err)
		}
		out[key] = peer{key, r.Endpoint, netip.PrefixFrom(r.Allowed, r.Allowed.BitLen())}
	}
	return out, nil
}

// changes returns what turns the peers that there are into the wanted ones. Who goes goes
// first: nobody has an address that is somebody else's by then.
func changes(have, want map[wgtypes.Key]peer) (out []change) {
	for _, key := range sorted(have) {
		if _, stays := want[key]; !stays {
			out = append(out, change{have[key], true})
		}
	}
	for _, key := range sorted(want) {
		if old, there := have[key]; !there || old != want[key] {
			out = append(out, change{want[key], false})
		}
	}
	return out
}

func sorted(peers map[wgtypes.Key]peer) []wgtypes.Key {
	return slices.SortedFunc(maps.Keys(peers), func(a, b wgtypes.Key) int { return strings.Compare(string(a[:]), string(b[:])) })
}

// String says what is not as wanted.
func (c change) String() string {
	if c.remove {
		return "peer " + c.key.String() + ": left over"
	}
	return "peer " + c.key.String() + ": missing, or another"
}

// script is a change in the words of the cross-platform interface
// (https://www.wireguard.com/xplatform/).
func (c change) script() string {
	var b strings.Builder
	fmt.Fprintf(&b, "public_key=%x\n", c.key[:])
	if c.remove {
		b.WriteString("remove=true\n")
		return b.String()
	}
	fmt.Fprintf(&b, "endpoint=%s\npersistent_keepalive_interval=%d\nreplace_allowed_ips=true\nallowed_ip=%s\n", c.endpoint, keepalive, c.allowed)
	return b.String()
}
