package wire

import (
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Verb is what a request asks for. The comment names the bodies of request and
// answer; a dash is an empty one.
type Verb string

// The verbs.
const (
	VerbHello  Verb = "hello"  // - / Hello
	VerbApply  Verb = "apply"  // Changes / -
	VerbResync Verb = "resync" // Rows, part by part / - and at last Report
	VerbCheck  Verb = "check"  // as VerbResync

	VerbReserve  Verb = "claim"   // Reservations / -: all or none
	VerbRelease  Verb = "unclaim" // Reservations / -
	VerbReserved Verb = "claimed" // - / Reservations

	VerbOpen   Verb = "output.open"   // model.Output / -
	VerbBegun  Verb = "output.begun"  // Subject / -
	VerbDrain  Verb = "output.drain"  // Subject / -, once the output has ended
	VerbClose  Verb = "output.close"  // Subject / -
	VerbKeep   Verb = "output.keep"   // Subjects / -: all others are closed
	VerbFollow Verb = "output.follow" // Follow / Joined, then pieces until the end

	VerbQueries Verb = "queries" // - / Queries

	VerbLeaseAsk    Verb = "lease.ask"    // facts.LeaseRequest / Leased
	VerbLeaseReturn Verb = "lease.return" // LeaseOf / -
	VerbLeaseWatch  Verb = "lease.watch"  // Leases / Leases, once they are not those of the revision

	// VerbHandOver asks for everything: the answer is an Inventory, with its other parts
	// in frames behind it, then Descriptors come until all were passed. VerbTaken says that they are served, and its
	// answer is that the old keeper goes.
	VerbHandOver Verb = "handover" // Successor / Inventory
	VerbTaken    Verb = "taken"    // - / -

	// VerbBye says that the daemon ends in peace: a keeper with nothing to keep ends
	// too.
	VerbBye Verb = "bye" // - / -
)

// Request is a call. IDs are the caller's; answers come in any order.
type Request struct {
	ID   uint64          `json:"id"`
	Verb Verb            `json:"verb"`
	Body json.RawMessage `json:"body,omitempty"`
}

// Answer is the end of a call.
type Answer struct {
	ID    uint64          `json:"id"`
	Body  json.RawMessage `json:"body,omitempty"`
	Error *Error          `json:"error,omitempty"`
}

// Hello is who a keeper is.
type Hello struct {
	Version int    `json:"version"`
	Program string `json:"program"` // tells one file of a program from another
	Pid     int    `json:"pid"`
	Release string `json:"release"` // for people
}

// Changes are the differences to apply.
type Changes struct {
	Deltas []Delta `json:"deltas"`
}

// Rows are all rows that are wanted, or a part of them.
type Rows struct {
	Rows []Row `json:"rows"`
	// Of several parts, which come one after the other: which ones belong together, and
	// that there are more.
	Transfer uint64 `json:"transfer,omitempty"`
	More     bool   `json:"more,omitempty"`
	// Firewall is what the policies among the rows are for; only in a resync.
	Firewall *Firewall `json:"firewall,omitempty"`
}

// Successor is a keeper that wants everything.
type Successor struct {
	Parts bool `json:"parts,omitempty"` // it understands an Inventory in parts
}

// Reservations are rows of host ports to hold, or that are held.
type Reservations struct {
	Rows []desired.Reserve `json:"rows,omitempty"`
}

// Queries are numbers of DNS queries since the keeper was started, by network and
// by what became of them: "local", "cached", "forwarded", "refused" or
// "malformed"; "failed" and "stale" are among those forwarded.
type Queries struct {
	Networks map[model.NetworkID]map[string]uint64 `json:"networks"`
}

// Leased is what a DHCP server has given.
type Leased struct {
	Lease model.Lease `json:"lease"`
}

// LeaseOf names the endpoint that has a lease.
type LeaseOf struct {
	Endpoint model.EndpointID `json:"endpoint"`
}

// Leases are all that are held, at a revision.
type Leases struct {
	Revision uint64            `json:"revision"`
	Held     []facts.HeldLease `json:"held,omitempty"`
}

// Report is desired.Report.
type Report struct {
	Drift  []string `json:"drift,omitempty"`
	Writes int      `json:"writes,omitempty"`
	Torn   bool     `json:"torn,omitempty"`
}

// Subject is the container that a call is about.
type Subject struct {
	Container model.ContainerID `json:"container"`
}

// Subjects are several.
type Subjects struct {
	Containers []model.ContainerID `json:"containers"`
}

// Follow asks for a container's output from now on.
type Follow struct {
	Container model.ContainerID `json:"container"`
	Stdout    bool              `json:"stdout,omitempty"`
	Stderr    bool              `json:"stderr,omitempty"`
}

// Joined tells from when on output comes: what the log has until then is all
// there was before.
type Joined struct {
	At time.Time `json:"at"`
}

// Inventory is what an old keeper holds, or a part of it. Descriptors follow, as many
// as are said in the first part.
type Inventory struct {
	Rows    []Row          `json:"rows,omitempty"`
	Outputs []HandedOutput `json:"outputs,omitempty"`
	// Policies are rows apart, so that releases that do not know them take the others.
	Policies    []Row     `json:"policies,omitempty"`
	Firewall    *Firewall `json:"firewall,omitempty"`
	Descriptors int       `json:"descriptors"`
	More        bool      `json:"more,omitempty"` // another frame of Inventory follows
}

// HandedOutput is a container's output on its way to another keeper.
type HandedOutput struct {
	Output  model.Output      `json:"output"`
	Begun   bool              `json:"begun,omitempty"`
	Partial map[string][]byte `json:"partial,omitempty"` // by stream: a line's beginning
}

// Descriptors is a frame of descriptors, with a label for each.
type Descriptors struct {
	Labels []Label `json:"labels"`
}

// Label says what a descriptor is.
type Label struct {
	Kind string `json:"kind"` // LabelDNSUDP ...
	For  string `json:"for"`  // a namespace, or a container's ID
	// Of a LabelFollow: which streams it gets.
	Stdout bool `json:"stdout,omitempty"`
	Stderr bool `json:"stderr,omitempty"`
}

// Kinds of descriptors. One of an unknown kind is closed.
const (
	LabelDNSUDP = "dns-udp"
	LabelDNSTCP = "dns-tcp"
	LabelStdout = "stdout"
	LabelStderr = "stderr"
	LabelFollow = "follow" // the connection of a client of the daemon's
	LabelPort   = "port"   // a socket that holds a host port, or serves it; For is its own name for it
)

// Descriptor is a descriptor on its way to another keeper. Who receives it closes
// File.
type Descriptor struct {
	Label Label
	File  *os.File
}

// MaxDescriptors is how many descriptors one frame carries.
const MaxDescriptors = maxFiles

// Error is an error with its kind, and the rows that it is about. Number is the kind
// for a reader of version 1, and all that such a writer says of it.
type Error struct {
	Number   int       `json:"kind"`
	Text     string    `json:"text"`
	Failures []Failure `json:"failures,omitempty"`
	Lost     bool      `json:"lost,omitempty"` // only a resync helps
	Held     *Held     `json:"held,omitempty"` // a port is somebody else's
	Kind     ErrorKind `json:"error,omitempty"`
}

// Held is desired.PortTaken.
type Held struct {
	Row  desired.Reserve `json:"row"`
	Port uint16          `json:"port"`
	Who  string          `json:"who,omitempty"`
	Text string          `json:"text"`
}

// Failure is desired.Failure. The numbers are for version 1, as in Error.
type Failure struct {
	Owner     desired.Owner `json:"owner"`
	RowNumber int           `json:"row"`
	Name      string        `json:"name"`
	Number    int           `json:"kind"`
	Text      string        `json:"text"`
	Row       desired.Kind  `json:"rowKind,omitempty"`
	Kind      ErrorKind     `json:"error,omitempty"`
}

// PackError returns the wire form of err; nil of nil.
func PackError(err error) *Error {
	if err == nil {
		return nil
	}
	out := &Error{Text: err.Error(), Lost: errors.Is(err, desired.ErrLost)}
	out.Kind, out.Number = packErrorKind(model.KindOf(err))
	var held *desired.PortTaken
	if errors.As(err, &held) {
		out.Held = &Held{Row: held.Row, Port: held.Port, Who: held.Who, Text: held.Err.Error()}
	}
	for _, f := range desired.Failures(err) {
		one := Failure{Owner: f.Owner, Row: f.Key.Kind, RowNumber: packRowKind(f.Key.Kind), Name: f.Key.Name, Text: f.Err.Error()}
		one.Kind, one.Number = packErrorKind(model.KindOf(f.Err))
		out.Failures = append(out.Failures, one)
	}
	return out
}

// Unpack returns the error; nil of nil.
func (e *Error) Unpack() error {
	if e == nil {
		return nil
	}
	if h := e.Held; h != nil {
		return &desired.PortTaken{Row: h.Row, Port: h.Port, Who: h.Who, Err: errors.New(h.Text)}
	}
	if len(e.Failures) == 0 {
		kind := unpackErrorKind(e.Kind, e.Number)
		if e.Lost {
			return model.Errorf(kind, "%s: %w", e.Text, desired.ErrLost)
		}
		return model.Errorf(kind, "%s", e.Text)
	}
	var all []error
	for _, f := range e.Failures {
		all = append(all, &desired.Failure{
			Owner: f.Owner, Key: desired.Key{Kind: unpackRowKind(f.Row, f.RowNumber), Name: f.Name},
			Err: model.Errorf(unpackErrorKind(f.Kind, f.Number), "%s", f.Text),
		})
	}
	if e.Lost {
		all = append(all, desired.ErrLost)
	}
	return errors.Join(all...)
}
