package livetrace

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of a trace, from include/uapi/linux/netfilter/nf_tables.h.
const (
	traceTable     = 1
	traceChain     = 2
	traceHandle    = 3
	traceType      = 4
	traceVerdict   = 5
	traceID        = 6
	traceNetwork   = 8
	traceTransport = 9
	traceIn        = 10
	traceOut       = 12
	tracePolicy    = 16

	verdictCode  = 1
	verdictChain = 2
)

// Types of events (enum nft_trace_types).
const (
	typePolicy = 1
	typeReturn = 2
	typeRule   = 3
)

// Verdicts (enum nft_verdicts, linux/netfilter.h).
const (
	codeContinue = -1
	codeBreak    = -2
	codeJump     = -3
	codeGoto     = -4
	codeReturn   = -5

	codeDrop, codeAccept, codeStolen, codeQueue = 0, 1, 2, 3
)

// Event is what the kernel tells of a packet at one rule, or at the end of a chain.
type Event struct {
	ID      uint32 // of the packet
	Family  byte
	Table   string
	Chain   string
	Handle  uint64 // of the rule; 0 at the end of a chain
	Verdict string
	// Ends says that a chain has no more rules: what follows is another event.
	Ends    bool
	In, Out uint32 // interfaces
	// From and To are the packet's; without a port where it has none. The kernel tells them,
	// and the interfaces, with the first event at each hook, and of the others they are not
	// valid.
	From, To netip.AddrPort
}

// parse reads the attributes of a NFT_MSG_TRACE.
func parse(family byte, attributes []byte) (Event, error) {
	e := Event{Family: family}
	ad, err := netlink.NewAttributeDecoder(attributes)
	if err != nil {
		return e, err
	}
	ad.ByteOrder = binary.BigEndian
	var kind, policy uint32
	var network, transport []byte
	for ad.Next() {
		switch ad.Type() {
		case traceTable:
			e.Table = ad.String()
		case traceChain:
			e.Chain = ad.String()
		case traceHandle:
			e.Handle = ad.Uint64()
		case traceType:
			kind = ad.Uint32()
		case traceVerdict:
			ad.Nested(e.verdict)
		case traceID:
			e.ID = ad.Uint32()
		case traceNetwork:
			network = ad.Bytes()
		case traceTransport:
			transport = ad.Bytes()
		case traceIn:
			e.In = ad.Uint32()
		case traceOut:
			e.Out = ad.Uint32()
		case tracePolicy:
			policy = ad.Uint32()
		}
	}
	switch {
	case kind == typePolicy:
		e.Verdict = code(int32(policy))
	case kind == typeReturn, e.Handle == 0 && e.Verdict == "continue":
		e.Verdict, e.Ends = "return", true
	}
	e.From, e.To = ends(network, transport)
	return e, ad.Err()
}

func (e *Event) verdict(ad *netlink.AttributeDecoder) error {
	ad.ByteOrder = binary.BigEndian
	chain := ""
	for ad.Next() {
		switch ad.Type() {
		case verdictCode:
			e.Verdict = code(int32(ad.Uint32()))
		case verdictChain:
			chain = ad.String()
		}
	}
	e.Verdict = strings.TrimSpace(e.Verdict + " " + chain)
	return ad.Err()
}

func code(n int32) string {
	switch n & 0xff {
	case codeDrop:
		return "drop"
	case codeAccept:
		return "accept"
	case codeStolen:
		return "stolen"
	case codeQueue:
		return "queue"
	}
	if text, ok := map[int32]string{codeContinue: "continue", codeBreak: "continue", codeJump: "jump", codeGoto: "goto", codeReturn: "return"}[n]; ok {
		return text
	}
	return fmt.Sprintf("verdict %d", n)
}

// ends reads addresses and ports.
func ends(network, transport []byte) (from, to netip.AddrPort) {
	var a, b netip.Addr
	protocol := byte(0)
	switch {
	case len(network) >= 20 && network[0]>>4 == 4:
		a, _ = netip.AddrFromSlice(network[12:16])
		b, _ = netip.AddrFromSlice(network[16:20])
		protocol = network[9]
	case len(network) >= 40 && network[0]>>4 == 6:
		a, _ = netip.AddrFromSlice(network[8:24])
		b, _ = netip.AddrFromSlice(network[24:40])
		protocol = network[6]
	default:
		return from, to
	}
	var ports [2]uint16
	if hasPorts := protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_UDP || protocol == unix.IPPROTO_SCTP; hasPorts && len(transport) >= 4 {
		ports = [2]uint16{binary.BigEndian.Uint16(transport), binary.BigEndian.Uint16(transport[2:])}
	}
	return netip.AddrPortFrom(a, ports[0]), netip.AddrPortFrom(b, ports[1])
}
