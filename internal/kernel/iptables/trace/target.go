package trace

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	nft "github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// decision is what a rule's target does.
type decision struct {
	verdict nft.Verdict // goOn if it is no verdict
	chain   *ruleset.Chain
	to      netip.AddrPort
	mark    *uint32 // the packet's new mark
	changes bool    // something that later rules may look at
	text    string
	doubt   string
}

// harmless are targets that leave the packet's fate to the rules behind.
var harmless = []string{
	"LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "CHECKSUM", "TCPMSS", "CLASSIFY", "SECMARK", "CONNSECMARK", "LED", "RATEEST", "DSCP", "TOS", "TTL", "HL", "SET",
}

func (e *evaluation) target(r *ruleset.Rule) decision {
	if c := e.table.Chain(r.Target); c != nil {
		verb := "jump "
		if r.Goto {
			verb = "goto "
		}
		return decision{chain: c, text: verb + r.Target}
	}
	switch r.Target {
	case "ACCEPT":
		return decision{verdict: nft.Accept, text: "accept"}
	case "DROP":
		return decision{verdict: nft.Drop, text: "drop"}
	case "REJECT":
		return decision{verdict: nft.Reject, text: "reject"}
	case "RETURN":
		return decision{verdict: giveBack, text: "return"}
	case "QUEUE", "NFQUEUE":
		return decision{verdict: nft.Queue, text: "queue"}
	case "MASQUERADE":
		return decision{verdict: nft.Masquerade, text: "masquerade"}
	case "MARK":
		return e.setMark(r)
	case "DNAT":
		return e.translate(nft.TranslateTo, "to-destination", r)
	case "SNAT":
		return e.translate(nft.TranslateFrom, "to-source", r)
	case "REDIRECT":
		return e.redirect(r)
	}
	if slices.Contains(harmless, r.Target) {
		return decision{text: strings.ToLower(r.Target)}
	}
	return decision{text: r.Target, changes: true, doubt: "nothing is known of target " + r.Target}
}

func (e *evaluation) setMark(r *ruleset.Rule) decision {
	value, mask, ok := valueMask(r.Value("set-xmark"))
	if !ok {
		return decision{text: "mark", changes: true, doubt: "which mark it sets is not known"}
	}
	mark := e.packet.Mark&^mask ^ value
	return decision{mark: &mark, changes: true, text: "mark " + r.Value("set-xmark")}
}

// translate reads "10.0.0.2:80", "10.0.0.2", "[fd00::2]:80", and "10.0.0.2:80-89/8080", which
// keeps the distance from a port.
func (e *evaluation) translate(v nft.Verdict, option string, r *ruleset.Rule) decision {
	value := r.Value(option)
	d := decision{verdict: v, text: string(v) + " to " + value}
	host, ports := value, ""
	if inner, rest, bracket := strings.Cut(strings.TrimPrefix(value, "["), "]"); bracket {
		host, ports = inner, strings.TrimPrefix(rest, ":")
	} else if strings.Count(value, ":") == 1 {
		host, ports, _ = strings.Cut(value, ":")
	}
	var addr netip.Addr
	if host != "" {
		var err error
		if addr, err = netip.ParseAddr(host); err != nil {
			d.doubt = "it translates to one of several addresses"
			return d
		}
	}
	port, doubt := shifted(ports, e.header.destination)
	d.to, d.doubt = netip.AddrPortFrom(addr, port), doubt
	return d
}

// shifted is the port that a packet's port is translated to; 0 if it stays.
func shifted(ports string, from uint16) (port uint16, doubt string) {
	if ports == "" {
		return 0, ""
	}
	span, base, hasBase := strings.Cut(ports, "/")
	first, last, several := strings.Cut(span, "-")
	if !several {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	if errA != nil || errB != nil || b < a {
		return 0, "which port it translates to is not known"
	}
	if !hasBase {
		if a != b {
			return 0, "it translates to one of several ports"
		}
		return uint16(a), ""
	}
	n, err := strconv.ParseUint(base, 10, 16)
	if err != nil {
		return 0, "which port it translates to is not known"
	}
	return uint16(a + uint64(from-uint16(n))%(b-a+1)), "" // as nf_nat_l4proto_unique_tuple does
}

func (e *evaluation) redirect(r *ruleset.Rule) decision {
	value := r.Value("to-ports")
	port, doubt := shifted(value, e.header.destination)
	return decision{verdict: nft.Redirect, text: strings.TrimSpace("redirect " + value), to: netip.AddrPortFrom(netip.Addr{}, port), doubt: doubt}
}
