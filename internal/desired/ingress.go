package desired

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/linkspan/linkspan/internal/model"
)

// Gate is the interface by which connections to published ports of the swarm come into the
// namespace of its ingress network.
const Gate = "gate"

// GateMark is the mark of connections that came in by the gate, in the namespace of the
// ingress network; and the number of the routing table that leads their answers back there.
const GateMark uint32 = 1 << 31

// IngressGuard shuts the namespace of an ingress network for all but what comes to published
// ports, and has answers go back to where the connection came from.
type IngressGuard struct {
	Namespace string
	Tunnel    string // the VXLAN to the other hosts; empty: there is none yet
}

func (r IngressGuard) Key() Key      { return key(KindBalance, where(r.Namespace), "ingress") }
func (r IngressGuard) Space() string { return r.Namespace }

func (r IngressGuard) String() string {
	s := "balance " + where(r.Namespace) + " ingress"
	if r.Tunnel != "" {
		s += " by " + r.Tunnel
	}
	return s
}

// IngressNode gives connections that another host lets in, which is known by the MAC address
// of its VXLAN, a mark. A Lookup leads their answers back.
type IngressNode struct {
	Namespace string
	MAC       string
	Mark      uint32
}

func (r IngressNode) Key() Key      { return key(KindBalance, where(r.Namespace), "ingress node", r.MAC) }
func (r IngressNode) Space() string { return r.Namespace }

func (r IngressNode) String() string {
	return fmt.Sprintf("balance %s ingress node %s mark %#x", where(r.Namespace), r.MAC, r.Mark)
}

// IngressSource has connections that come in by the gate under one address, which is the same
// on many hosts, have another one that is this host's alone.
type IngressSource struct {
	Namespace string
	From, As  netip.Addr // of one family
}

func (r IngressSource) Key() Key {
	return key(KindBalance, where(r.Namespace), "ingress source", r.From.String())
}
func (r IngressSource) Space() string { return r.Namespace }

func (r IngressSource) String() string {
	return fmt.Sprintf("balance %s ingress from %s as %s", where(r.Namespace), r.From, r.As)
}

// IngressTarget is a port of a container of this host that published ports lead to: other
// hosts may open connections to it.
type IngressTarget struct {
	Namespace string
	Protocol  model.Protocol
	Addr      netip.Addr
	Port      uint16
}

func (r IngressTarget) Key() Key {
	return key(KindBalance, where(r.Namespace), "ingress target", string(r.Protocol), r.Addr.String(), strconv.Itoa(int(r.Port)))
}

func (r IngressTarget) Space() string { return r.Namespace }

func (r IngressTarget) String() string {
	return fmt.Sprintf("balance %s ingress target %s %s", where(r.Namespace), r.Protocol, netip.AddrPortFrom(r.Addr, r.Port))
}
