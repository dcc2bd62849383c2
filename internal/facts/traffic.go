package facts

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// PortTraffic is what has come to one published port, or range of ports, since
// it was published. Counts start anew when it is published again and when the
// firewall had to be written anew.
type PortTraffic struct {
	Protocol    model.Protocol
	Host        netip.Addr // unspecified: every address of the family
	First, Last uint16     // host ports, both included
	Connections uint64
	Packets     uint64 // both ways
	Bytes       uint64 // both ways, IP headers included
}

// BridgeTraffic is what has crossed the border of one bridge network: what its
// containers have sent to one another is not in it. Counts start with the
// bridge.
type BridgeTraffic struct {
	Bridge                string
	InBytes, InPackets    uint64 // to the containers, Ethernet headers included
	OutBytes, OutPackets  uint64 // from the containers
	InDropped, OutDropped uint64 // packets that the bridge itself had no use for
}

// Traffic is every counter, read at about one time.
type Traffic struct {
	Ports   []PortTraffic
	Bridges []BridgeTraffic
	Drops   []PortDrops
}

// DropKind is why port security dropped frames.
type DropKind string

// The kinds.
const (
	DropMAC       DropKind = "mac"       // under another MAC address
	DropARP       DropKind = "arp"       // ARP in another's name
	DropSource    DropKind = "source"    // IP packets from another's address
	DropDiscovery DropKind = "discovery" // neighbour discovery in another's name
	DropService   DropKind = "service"   // DHCP, router advertisements, redirects
	DropFrame     DropKind = "frame"     // neither IP nor ARP
	DropFlood     DropKind = "flood"     // new addresses faster than the host takes note of them
)

// DropKinds are all kinds, in the order in which they are shown.
var DropKinds = []DropKind{DropMAC, DropARP, DropSource, DropDiscovery, DropService, DropFrame, DropFlood}

// PortDrops is what port security has dropped of one kind that came from one port
// of a bridge, since the port was made or the firewall had to be written anew.
type PortDrops struct {
	Port           string // the host's end of the endpoint
	Kind           DropKind
	Packets, Bytes uint64 // Ethernet headers not included
}

// LinkTraffic is what one network interface has counted since it was made, as it sees it
// itself: of the host's end of a veth pair, Received is what the container has sent.
type LinkTraffic struct {
	Link           string
	Received, Sent Counter
}

// Counter is packets, with their Ethernet headers.
type Counter struct{ Bytes, Packets uint64 }
