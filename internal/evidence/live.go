package evidence

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// Place is a namespace on the way of a packet.
type Place struct {
	Name      string // in words: "container web", "host"
	Namespace string // path; empty: the one of whoever looks
}

// LiveQuestion is a packet to be followed, and where.
type LiveQuestion struct {
	// Places are in the order in which the packet comes to them.
	Places   []Place
	Protocol model.Protocol // empty: an echo request
	From     netip.Addr     // of the sender; invalid: whichever
	// Targets are the addresses and ports that it is for: as it was sent, and as it arrives.
	Targets []netip.AddrPort
}

// Live is what the kernel's rules did to a packet, and to the answer.
type Live struct {
	Steps []LiveStep
	// Lost says that there was more than could be heard.
	Lost bool
	// Failed are the places that could not be followed, with the reason.
	Failed map[string]string
}

// LiveStep is one rule that a packet met, or the end of a chain.
type LiveStep struct {
	Place  string // its name
	Answer bool   // it is of the answer
	Packet string // "10.0.0.2:43210 > 10.0.0.3:80"
	In     string `json:",omitempty"` // interface
	Out    string `json:",omitempty"`
	Table  string
	Chain  string
	Rule   string `json:",omitempty"` // empty: the chain's policy, or its end
	// Comment is what our rules say of themselves.
	Comment string `json:",omitempty"`
	Verdict string // "accept", "drop", "continue", "jump CHAIN", "goto CHAIN", "return"
	Ours    bool
}

// Dropped returns the step at which a packet was dropped.
func (l Live) Dropped() (LiveStep, bool) {
	for _, s := range l.Steps {
		if s.Verdict == "drop" {
			return s, true
		}
	}
	return LiveStep{}, false
}
