package desired

import (
	"fmt"
	"net/netip"
)

// TunnelOwner owns the tunnel that the packets of all encrypted networks take.
const TunnelOwner Owner = "tunnel"

// WireGuard is how a link of type LinkWireGuard takes part in its tunnel (wg(8)). The private
// key is in a file that only root may read: rows are shown to people.
type WireGuard struct {
	Namespace string
	Link      string
	Port      uint16 // UDP, in the host's namespace
	MTU       int    // of the link, in bytes
	PublicKey string // that of the private key
	KeyFile   string
}

func (r WireGuard) Key() Key      { return key(KindWireGuard, where(r.Namespace), r.Link) }
func (r WireGuard) Space() string { return r.Namespace }

func (r WireGuard) String() string {
	return fmt.Sprintf("wireguard %s %s listen-port %d mtu %d public-key %s private-key %s", where(r.Namespace), r.Link, r.Port, r.MTU, r.PublicKey, r.KeyFile)
}

// WireGuardPeer is another host in a tunnel: packets for Allowed go, encrypted for PublicKey,
// to Endpoint, and who has that key may send from Allowed and from nowhere else.
type WireGuardPeer struct {
	Namespace string
	Link      string
	Allowed   netip.Addr
	Endpoint  netip.AddrPort
	PublicKey string
}

func (r WireGuardPeer) Key() Key {
	return key(KindWireGuardPeer, where(r.Namespace), r.Link, r.Allowed.String())
}
func (r WireGuardPeer) Space() string { return r.Namespace }

func (r WireGuardPeer) String() string {
	return fmt.Sprintf("wireguard-peer %s %s allowed-ips %s endpoint %s public-key %s", where(r.Namespace), r.Link, r.Allowed, r.Endpoint, r.PublicKey)
}
