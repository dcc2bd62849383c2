package privateapi

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// StateVersion is the form of State. It grows when a field changes its meaning; a new
// field does not count.
const StateVersion = 1

// State is what the daemon knows, of one moment: GET /linkspan/v1/state.
type State struct {
	Version    int
	Revision   uint64
	Daemon     Daemon
	Networks   []Network
	Containers []Container
}

// Daemon is who answers.
type Daemon struct {
	Version            string
	Pid                int
	DataRoot, ExecRoot string
	Instance           string // marks what is its own in the kernel
	FirewallBackend    string
}

// Network is a network as it is.
type Network struct {
	ID, Name, Driver string
	Internal         bool
	Device           string `json:",omitempty"` // on the host, where there is one
	// Peers are the other hosts on the network, where they receive its packets; and Largest is
	// how large these are on their way, in bytes.
	Peers   []netip.Addr `json:",omitempty"`
	Largest int          `json:",omitempty"`
	// Namespace is the path of that which its traffic goes through in place of the host's;
	// Services are those that have addresses there.
	Namespace string    `json:",omitempty"`
	Services  []Service `json:",omitempty"`
	Subnets   []Subnet  `json:",omitempty"`
	MTU       int       `json:",omitempty"` // bytes, where it was asked for
	// Named says that its members find each other by name, and Masquerades that they
	// leave the host with its address.
	Named, Masquerades bool
	Options            map[string]string `json:",omitempty"`
}

// Service is an address of a service, and where it leads.
type Service struct {
	Address netip.Addr
	Names   []string
	Tasks   []Task
}

// Task is where a service's address leads, if it is ready; else it keeps the connections that
// it has.
type Task struct {
	Name    string `json:",omitempty"`
	Address netip.Addr
	Ready   bool
}

// Subnet is a pool of addresses.
type Subnet struct {
	Subnet  netip.Prefix
	Gateway netip.Addr
}

// Container is the network side of a container, or of a namespace that is somebody else's.
type Container struct {
	ID, Name string
	Up       bool // its namespace exists
	// Namespace is the path of it; empty: it is on the host's own network.
	Namespace string    `json:",omitempty"`
	Networks  []Member  `json:",omitempty"`
	Ports     []Binding `json:",omitempty"` // of the host; those that it wants, while it is not up
	// Servers are the name servers that 127.0.0.11 asks from inside the container about
	// names outside; empty: the host's.
	Servers []netip.Addr `json:",omitempty"`

	// The rest is there only where one container is asked for.

	State         string     `json:",omitempty"` // "running", "paused", "exited" ...
	ExitCode      int        `json:",omitempty"`
	ResolvConf    string     `json:",omitempty"` // path on the host of what it has as /etc/resolv.conf
	Hosts         string     `json:",omitempty"`
	StartedAt     *time.Time `json:",omitempty"`
	SharesNetwork string     `json:",omitempty"` // ID of the container whose network it uses
}

// Member is a container on a network.
type Member struct {
	Network, NetworkID string
	Interface, MAC     string
	Up                 bool
	Addresses          []Address
	Bridge, Port       string   `json:",omitempty"` // on the host
	Names              []string `json:",omitempty"`
}

// Path is GET /linkspan/v1/firewall/explain?format=json: what becomes of a packet.
type Path struct {
	Outcome  string
	Verdict  string // the first line of the text
	Protocol string // "tcp", "udp", "sctp" or "icmp"
	From     string
	Sender   string `json:",omitempty"` // container
	To       string
	In       string  `json:",omitempty"` // interface
	Out      string  `json:",omitempty"`
	Arrives  Arrival // if it is accepted: how
	Steps    []Step
}

// Arrival is a packet as it is in the end.
type Arrival struct {
	From, To string
	Receiver string `json:",omitempty"` // container
}

// Step is one rule on the way, or a routing decision.
type Step struct {
	Hook    string
	Table   string `json:",omitempty"`
	Chain   string `json:",omitempty"`
	Rule    string `json:",omitempty"`
	Comment string `json:",omitempty"`
	Verdict string
	Decides bool   `json:",omitempty"`
	Doubt   string `json:",omitempty"`
	Owner   string // "linkspan", with who asked for it; "foreign"; empty for routing
	WayOut  string `json:",omitempty"`
}

// PortUser is who has, or will want, a port of the host: GET /linkspan/v1/ports/N?format=json.
type PortUser struct {
	Protocol  model.Protocol
	At        netip.AddrPort
	Container string `json:",omitempty"` // empty: a process of the host
	ID        string `json:",omitempty"`
	Running   bool
	Who       string `json:",omitempty"` // "process nginx, pid 123"
}

// Drift is GET /linkspan/v1/diff?format=json: what differs between what is wanted of the
// kernel and what it has, or what was repaired of that.
type Drift struct {
	Differences []string
	Writes      int
}

// Row is one object that is asked of the kernel: GET /linkspan/v1/plan?format=json.
type Row struct {
	Kind, Owner string
	Text        string
}

// Asker is who has asked the firewall for something, and what: GET /linkspan/v1/firewall?format=json.
type Asker struct {
	Kind  string // "host", "network" or "container"
	Name  string // empty for the host
	ID    string
	Rules []Rule
}

// Rule is one policy of the firewall.
type Rule struct {
	Text string // in words
	Row  string // as the plan has it
}

// Rules returns what the firewall was asked for: by the host first, then by networks and containers, by name.
func (c Client) Rules(ctx context.Context) (out []Asker, err error) {
	err = c.ask(ctx, http.MethodGet, "/linkspan/v1/firewall?format=json", nil, &out)
	return out, err
}

// State returns what the daemon knows.
func (c Client) State(ctx context.Context) (out State, err error) {
	err = c.ask(ctx, http.MethodGet, "/linkspan/v1/state", nil, &out)
	return out, err
}

// Container returns one container, by its name or ID. Errors: NotFound.
func (c Client) Container(ctx context.Context, ref string) (out Container, err error) {
	err = c.ask(ctx, http.MethodGet, "/linkspan/v1/containers/"+url.PathEscape(ref), nil, &out)
	return out, err
}

// Explain follows the first packet of a connection through all rules of the host. to is the
// address that a port of the host is asked for at; empty: one where it is published.
func (c Client) Explain(ctx context.Context, target, from, to string) (out Path, err error) {
	q := url.Values{"target": {target}, "from": {from}, "to": {to}, "format": {"json"}}
	err = c.ask(ctx, http.MethodGet, "/linkspan/v1/firewall/explain?"+q.Encode(), nil, &out)
	return out, err
}

// PortUsers returns who has one port of the host, and who will want it.
func (c Client) PortUsers(ctx context.Context, port string) (out []PortUser, err error) {
	err = c.ask(ctx, http.MethodGet, "/linkspan/v1/ports/"+url.PathEscape(port)+"?format=json", nil, &out)
	return out, err
}

// Diff returns what differs between what is wanted of the kernel and what it has.
func (c Client) Diff(ctx context.Context) (out Drift, err error) {
	err = c.ask(ctx, http.MethodGet, "/linkspan/v1/diff?format=json", nil, &out)
	return out, err
}
