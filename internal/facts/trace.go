package facts

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// TracePacket is a packet that the firewall is asked about: the first of a new connection.
type TracePacket struct {
	From     netip.Addr // the sender; invalid: the host itself
	To       netip.AddrPort
	Protocol model.Protocol // empty: an ICMP echo request
}

// Outcome is what becomes of a packet.
type Outcome string

// The outcomes.
const (
	OutcomeAccepted    Outcome = "accepted"
	OutcomeDropped     Outcome = "dropped"
	OutcomeRejected    Outcome = "rejected"
	OutcomeUnreachable Outcome = "unreachable" // by routing
	OutcomeUnknown     Outcome = "cannot tell" // a rule is in doubt
)

// Trace is the way of a packet through the host, as its rules are.
type Trace struct {
	Packet  TracePacket
	In      string // interface that it comes in by; empty: it is the host's own
	Outcome Outcome
	// Out is the interface that it leaves by; empty if it is for the host itself.
	Out   string
	From  netip.Addr     // its source in the end; invalid: the address that the host has there
	To    netip.AddrPort // its destination in the end
	Steps []TraceStep
}

// TraceStep is a rule that had a part in it, or what happened between rules.
type TraceStep struct {
	Hook    string // "prerouting", "forward" ...; "routing" between them
	Table   string // "ip filter"; empty between rules
	Chain   string
	Rule    string // as nft writes it
	Comment string // of the rule
	Verdict string
	Decides bool   // it is what the outcome comes from
	Doubt   string // why it cannot be told whether the rule matches
	Ours    bool
	Rows    []string // keys of the policy rows that it is there for, as far as that can be told
	WayOut  string   // what could be done about it
}
