// Package evidence holds what was seen of a host, and of the way from one party to another,
// at the moment when somebody asks what is wrong. Others look (kernel/survey, the command)
// and others judge (diagnose).
//
// It is data. What could not be seen is missing, and says so: no conclusion may be drawn
// from it.
package evidence

import (
	"net/netip"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// PartyKind is what one end of a way is.
type PartyKind string

// The kinds.
const (
	Container PartyKind = "container"
	TheHost   PartyKind = "host"
	Outside   PartyKind = "outside" // another machine
	AService  PartyKind = "service" // of a swarm: whichever of its tasks
)

// Party is one end of a way.
type Party struct {
	Kind PartyKind
	Name string // of a container; as the user wrote it for others
	// State is a container's, in Docker's words: "running", "paused", "exited" ...
	State    string
	ExitCode int // of one that has ended
	// Namespace is the path of its network namespace; empty: the host's.
	Namespace string
	Networks  []Membership
}

// Running tells whether its processes live, paused ones included.
func (p Party) Running() bool {
	return p.Kind != Container || p.State == "running" || p.State == "paused"
}

// Membership is a party on a network.
type Membership struct {
	Network      string
	Internal     bool
	Named        bool // members find each other by name there
	Up           bool
	Interface    string // inside
	MAC          string
	Addrs        []netip.Addr
	Gateways     []netip.Addr
	Bridge, Port string // on the host; empty where there is none
	Names        []string
}

// View is what is seen of the network inside one namespace, on the way to one address.
type View struct {
	Links   []Link
	Addrs   []netip.Prefix
	AddrsOn map[netip.Addr]string // the link that has an address
	// Route is the way to the other party, and Hop the neighbour that packets to it are
	// handed to.
	Route Route
	Hop   Neighbour
	// Settings are values below /proc/sys/net that matter, by path; those that do not
	// exist are missing.
	Settings map[string]string
	Sockets  []Socket // that wait at the port in question, and at others of its number
	// Rules is what rules inside make of the packet; zero: it was not asked.
	Rules Verdict
}

// Link is a network interface.
type Link struct {
	Name    string
	Kind    string // "veth", "bridge" ...
	Up      bool   // administratively
	Carrier bool   // and it can carry something
	NoARP   bool
	MTU     int
	MAC     string
	Master  string
	Alias   string
	Index   int
}

// Link returns the link of that name.
func (v View) Link(name string) (Link, bool) {
	for _, l := range v.Links {
		if l.Name == name {
			return l, true
		}
	}
	return Link{}, false
}

// Route is where routing sends packets.
type Route struct {
	Link   string
	Hop    netip.Addr // gateway, or the address itself
	Source netip.Addr
	MTU    int // of the route; 0: that of the link
	Local  bool
	Err    string // why there is none; "no route to host"
}

// Neighbour is what a link knows of a neighbour.
type Neighbour struct {
	Addr  netip.Addr
	State string // "reachable", "failed", "incomplete", "permanent" ...; empty: nothing
	MAC   string
}

// Unanswered tells whether somebody was asked for its MAC address, and was silent.
func (n Neighbour) Unanswered() bool { return n.State == "failed" || n.State == "incomplete" }

// Socket is one that waits for whoever comes.
type Socket struct {
	Protocol model.Protocol
	At       netip.AddrPort
	// Waiting connections, and how many there may be; 0 of both where it has no queue.
	Waiting, Backlog int
	Who              string // "process nginx, pid 123"; empty if it is not known
}

// Verdict is what rules make of a packet.
type Verdict struct {
	Asked   bool
	Outcome string // as facts.Outcome; empty with Err
	Decides string // the rule, and where it is
	Ours    bool
	For     string // who asked for it, of ours
	WayOut  string
	In, Out string // interfaces
	// From and To are the packet's in the end.
	From netip.Addr
	To   netip.AddrPort
	Err  string // why it could not be asked
}

// NameServer is what one name server says of one name.
type NameServer struct {
	Server netip.Addr
	Answer NameAnswer
	Addrs  []netip.Addr
	Err    string
}

// NameAnswer is what became of a query.
type NameAnswer string

// The answers.
const (
	Answered NameAnswer = "answered"
	NoName   NameAnswer = "no such name"
	NoData   NameAnswer = "no address"
	Refused  NameAnswer = "refused"
	Silent   NameAnswer = "no answer"
)

// Names is how the sender finds the other party by name.
type Names struct {
	Name    string // that was looked up; empty: none was
	Hosts   []netip.Addr
	Servers []NameServer
	// Ours says that the engine's resolver is the one that its resolv.conf names, and
	// Expected that it should be.
	Ours, Expected bool
	// Upstreams are those that the resolver asks in turn, about a name outside.
	Upstreams []NameServer
	Err       string // why it could not be looked up
}

// ProbeResult is what a real attempt to get there came to.
type ProbeResult string

// The results.
const (
	ProbeNone        ProbeResult = ""            // nothing was sent
	ProbeConnected   ProbeResult = "connected"   // or an answer came
	ProbeRefused     ProbeResult = "refused"     // by a reset, or an ICMP error about the port
	ProbeSilent      ProbeResult = "silent"      // nothing came back in time
	ProbeUnreachable ProbeResult = "unreachable" // somebody, or the sender's own kernel, said so
	ProbeFailed      ProbeResult = "failed"      // it could not be sent
)

// Probe is a real attempt.
type Probe struct {
	Result ProbeResult
	From   netip.Addr
	Err    string
	Took   time.Duration
}

// Connections is how full the table of connections is.
type Connections struct{ Count, Max int }

// Path is everything that was seen of the way from one party to another.
type Path struct {
	From, To Party
	Protocol model.Protocol // empty: an echo request
	Port     uint16
	Source   netip.Addr // of the sender; invalid where it is not known
	Target   netip.Addr
	// Meet is the network that both are on; empty: none.
	Meet  string
	Names Names
	// Sender, Host and Receiver are nil where they cannot be seen.
	Sender, Host, Receiver *View
	// Final is who gets it behind a port of the host, where that is not To.
	Final       *Party
	Firewall    Verdict
	Connections Connections
	Probe       Probe
	// Within is the network that the way does not leave, whose traffic does not go through the
	// host's own namespace; empty: there is none.
	Within Within
	// Balanced is what the target is if it is a service's address.
	Balanced *Balanced
	// Elsewhere are the containers that publish the host's port at other addresses.
	Elsewhere []PublishedAt
}

// Within is a network over hosts, and the path of its namespace.
type Within struct{ Network, Namespace string }

// Balanced is an address of a service, and where the rules of the network's namespace lead
// connections to it.
type Balanced struct {
	Service, Network string
	Backends         []Backend
	// Shares counts the buckets of the kernel's maps that lead to an address; nil with Err.
	Shares map[netip.Addr]int
	Err    string
}

// Backend is one task of a service.
type Backend struct {
	Name  string // empty if it is not known
	Addr  netip.Addr
	Ready bool
	// Here is its container, if that is on this host, and View what is seen there.
	Here *Party
	View *View
}

// PublishedAt is a container that publishes a port, and at which addresses of the host.
type PublishedAt struct {
	Container string
	At        []netip.Addr
}

// Gets is the party that gets the packet in the end.
func (p Path) Gets() Party {
	if p.Final != nil {
		return *p.Final
	}
	return p.To
}

// ViewQuestion says what is to be seen in a namespace.
type ViewQuestion struct {
	Namespace string     // path; empty: the one of whoever looks
	To        netip.Addr // whom the way leads to; invalid: no way is looked up
	From      netip.Addr // with which source; invalid: whichever
	// Arriving is the packet that rules are asked about as one that comes in; else it is
	// one that leaves. Without a protocol in it rules are not asked.
	Arriving bool
	Protocol model.Protocol
	Port     uint16 // of the packet, and of the sockets that are wanted; 0: an echo request
	Sockets  bool   // who waits at the port is wanted
	Rules    bool
	Settings []string // below /proc/sys
}

// ProbeQuestion is an attempt to be made.
type ProbeQuestion struct {
	Namespace string
	Protocol  model.Protocol // empty: an echo request
	To        netip.AddrPort
	Timeout   time.Duration
}

// NameQuestion is a name to be looked up.
type NameQuestion struct {
	Namespace string
	Server    netip.Addr
	Name      string
	Timeout   time.Duration
}
