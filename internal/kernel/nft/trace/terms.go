package trace

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

func addrText(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return fmt.Sprintf("0x%x", b)
	}
	return a.String()
}

func portText(b []byte) string {
	if len(b) != 2 {
		return fmt.Sprintf("0x%x", b)
	}
	return strconv.Itoa(int(binary.BigEndian.Uint16(b)))
}

// nameText is an interface name; one that is cut short stands for all that begin so.
func nameText(b []byte) string {
	name := strings.TrimRight(string(b), "\x00")
	if len(name) == len(b) && len(b) < unix.IFNAMSIZ {
		name += "*"
	}
	return strconv.Quote(name)
}

func numberText(b []byte) string {
	switch len(b) {
	case 1:
		return strconv.Itoa(int(b[0]))
	case 4:
		return fmt.Sprintf("0x%x", binary.NativeEndian.Uint32(b))
	}
	return fmt.Sprintf("0x%x", b)
}

func protocolText(b []byte) string {
	if len(b) == 1 {
		if name, ok := map[byte]string{1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}[b[0]]; ok {
			return name
		}
	}
	return numberText(b)
}

func metaTerm(key expr.MetaKey) term {
	switch key {
	case expr.MetaKeyIIFNAME:
		return term{name: "iifname", write: nameText}
	case expr.MetaKeyOIFNAME:
		return term{name: "oifname", write: nameText}
	case expr.MetaKeyIIF:
		return term{name: "iif", write: numberText}
	case expr.MetaKeyOIF:
		return term{name: "oif", write: numberText}
	case expr.MetaKeyMARK:
		return term{name: "meta mark", write: numberText}
	case expr.MetaKeyIIFGROUP:
		return term{name: "iifgroup", write: numberText}
	case expr.MetaKeyOIFGROUP:
		return term{name: "oifgroup", write: numberText}
	case expr.MetaKeyL4PROTO:
		return term{name: "meta l4proto", write: protocolText}
	case expr.MetaKeyNFPROTO:
		return term{name: "meta nfproto", write: func(b []byte) string {
			return map[string]string{"\x02": "ipv4", "\x0a": "ipv6"}[string(b)]
		}}
	}
	return term{name: fmt.Sprintf("meta %d", key), write: numberText}
}

// payloadTerm names a field of a header by its place.
func payloadTerm(e *expr.Payload) term {
	mac := func(b []byte) string { return net.HardwareAddr(b).String() }
	switch {
	case e.Base == expr.PayloadBaseLLHeader && e.Offset < 12:
		return term{name: map[uint32]string{0: "ether daddr", 6: "ether saddr"}[e.Offset], write: mac}
	case e.Base == expr.PayloadBaseLLHeader:
		return term{name: "ether type"}
	case e.Base == expr.PayloadBaseTransportHeader && e.Len == 2 && e.Offset < 4:
		return term{name: map[uint32]string{0: "th sport", 2: "th dport"}[e.Offset], write: portText}
	case e.Base == expr.PayloadBaseNetworkHeader && e.Len <= 4 && e.Offset == 12:
		return term{name: "ip saddr", write: addrText}
	case e.Base == expr.PayloadBaseNetworkHeader && e.Len <= 4 && e.Offset == 16:
		return term{name: "ip daddr", write: addrText}
	case e.Base == expr.PayloadBaseNetworkHeader && e.Offset == 8 && e.Len > 4:
		return term{name: "ip6 saddr", write: addrText}
	case e.Base == expr.PayloadBaseNetworkHeader && e.Offset == 24:
		return term{name: "ip6 daddr", write: addrText}
	case e.Base == expr.PayloadBaseNetworkHeader && e.Offset == 9 && e.Len == 1:
		return term{name: "ip protocol", write: protocolText}
	}
	bases := map[expr.PayloadBase]string{expr.PayloadBaseNetworkHeader: "nh", expr.PayloadBaseTransportHeader: "th"}
	return term{name: fmt.Sprintf("@%s,%d,%d", bases[e.Base], e.Offset*8, e.Len*8)}
}

func ctTerm(key expr.CtKey) term {
	switch key {
	case expr.CtKeySTATE:
		return term{name: "ct state", write: func(b []byte) string { return stateText(b, 0) }}
	case expr.CtKeySTATUS:
		return term{name: "ct status", write: func(b []byte) string {
			if len(b) == 4 && binary.NativeEndian.Uint32(b) == statusDNAT {
				return "dnat"
			}
			return numberText(b)
		}}
	case expr.CtKeyPROTODST:
		return term{name: "ct original proto-dst", write: portText}
	case expr.CtKeyMARK:
		return term{name: "ct mark", write: numberText}
	case ctDestination4, ctDestination6:
		return term{name: "ct original daddr", write: addrText}
	case ctSource4, ctSource6:
		return term{name: "ct original saddr", write: addrText}
	}
	return term{name: fmt.Sprintf("ct %d", key), write: numberText}
}

func stateText(b []byte, mask uint32) string {
	if len(b) == 4 {
		mask = binary.NativeEndian.Uint32(b)
	}
	var out []string
	for _, s := range []struct {
		bit  uint32
		name string
	}{{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "untracked"}} {
		if mask&s.bit != 0 {
			out = append(out, s.name)
		}
	}
	return strings.Join(out, ",")
}

func socketTerm(key expr.SocketKey) term {
	names := map[expr.SocketKey]string{
		expr.SocketKeyTransparent: "transparent", expr.SocketKeyMark: "mark", expr.SocketKeyWildcard: "wildcard", expr.SocketKeyCgroupv2: "cgroupv2",
	}
	return term{name: "socket " + names[key], write: func(b []byte) string { return fmt.Sprintf("%#x", b) }}
}

func fibTerm(e *expr.Fib) term {
	name := "fib daddr"
	if e.FlagSADDR {
		name = "fib saddr"
	}
	if e.FlagIIF {
		name += " . iif"
	}
	if e.ResultADDRTYPE {
		return term{name: name + " type", write: func(b []byte) string {
			if len(b) == 4 {
				if kind, ok := map[uint32]string{unix.RTN_LOCAL: "local", unix.RTN_UNICAST: "unicast", unix.RTN_BROADCAST: "broadcast", unix.RTN_MULTICAST: "multicast"}[binary.NativeEndian.Uint32(b)]; ok {
					return kind
				}
			}
			return numberText(b)
		}}
	}
	return term{name: name + " oif", write: numberText}
}

// matchText is an extension of xtables as nft lists it, as far as that goes.
func matchText(e *expr.Match) string {
	switch info := e.Info.(type) {
	case *xt.Comment:
		return fmt.Sprintf("comment %q", strings.TrimRight(string(*info), "\x00"))
	case *xt.ConntrackMtinfo3:
		var out []string
		if info.MatchFlags&uint16(xt.ConntrackState) != 0 {
			out = append(out, "ct state "+stateText(nil, uint32(info.StateMask)))
		}
		if info.MatchFlags&uint16(xt.ConntrackOrigDstPort) != 0 {
			out = append(out, "ct original proto-dst "+strconv.Itoa(int(info.OrigDstPort)))
		}
		if info.MatchFlags&uint16(xt.ConntrackOrigDst) != 0 {
			out = append(out, "ct original daddr "+info.OrigDstAddr.String())
		}
		return strings.Join(append(out, "(match conntrack)"), " ")
	case *xt.Tcp:
		return "tcp " + portsText(info.SrcPorts, info.DstPorts)
	case *xt.Udp:
		return "udp " + portsText(info.SrcPorts, info.DstPorts)
	}
	return "(match " + e.Name + ")"
}

func portsText(src, dst [2]uint16) string {
	var out []string
	for i, r := range [][2]uint16{src, dst} {
		name := []string{"sport", "dport"}[i]
		switch {
		case r == [2]uint16{0, 65535}:
		case r[0] == r[1]:
			out = append(out, fmt.Sprintf("%s %d", name, r[0]))
		default:
			out = append(out, fmt.Sprintf("%s %d-%d", name, r[0], r[1]))
		}
	}
	return strings.Join(out, " ")
}

func targetText(e *expr.Target) string {
	switch e.Name {
	case "REJECT", "LOG", "MASQUERADE":
		return strings.ToLower(e.Name)
	}
	m := matching{evaluation: &evaluation{packet: &Packet{}}} // of no packet: a port that is shifted is not known
	if e.Name == "DNAT" || e.Name == "SNAT" || e.Name == "REDIRECT" {
		m.xtNAT(e.Info)
		return strings.ToLower(e.Name) + " to " + addrPortText(m.to)
	}
	return "(target " + e.Name + ")"
}
