// Package investigate gathers what is needed to say what is wrong: it asks the daemon what
// it wants and what its rules do, and a surveyor what the host is like, inside and outside
// of containers.
//
//	question ─▶ Investigator ─┬─ Daemon (private socket)   ─▶ evidence.Path, evidence.Host
//	                          └─ Surveyor (the host itself)
//
// It runs in the linkspan command and not in the daemon, which it asks a few cheap
// questions. It changes nothing, and judges nothing: that is package diagnose's part.
package investigate

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// Daemon is asked for what it knows; privateapi.Client is one.
type Daemon interface {
	State(ctx context.Context) (privateapi.State, error)
	Container(ctx context.Context, ref string) (privateapi.Container, error)
	Explain(ctx context.Context, target, from, to string) (privateapi.Path, error)
	PortUsers(ctx context.Context, port string) ([]privateapi.PortUser, error)
	Diff(ctx context.Context) (privateapi.Drift, error)
}

// Surveyor looks at the host.
type Surveyor interface {
	View(ctx context.Context, q evidence.ViewQuestion) (evidence.View, error)
	Probe(ctx context.Context, q evidence.ProbeQuestion) evidence.Probe
	Ask(ctx context.Context, q evidence.NameQuestion) evidence.NameServer
	// Balanced counts the buckets by which a service's address leads to each of its tasks, in
	// the namespace of a network over hosts.
	Balanced(ctx context.Context, namespace string, service netip.Addr) (map[netip.Addr]int, error)
	// Host looks at the machine as a whole. dataRoot is where its data will be, instance
	// marks the engine's own interfaces; empty if they are not known.
	Host(ctx context.Context, dataRoot, instance string) evidence.Host
	// Descriptors counts the files that a process has open.
	Descriptors(who string, pid int) (evidence.Descriptors, error)
}

// Investigator gathers evidence. The zero values of Patience are 1 s.
type Investigator struct {
	Daemon   Daemon
	Surveyor Surveyor
	Patience time.Duration // with one attempt, and with one name server
	Quiet    bool          // make no attempt
}

// patience is how long an attempt may take.
func (i Investigator) patience() time.Duration {
	if i.Patience <= 0 {
		return time.Second
	}
	return i.Patience
}

// target is the second party, as the user wrote it.
type target struct {
	host     string // name or address; empty for "this host"
	port     uint16
	protocol model.Protocol // empty with port 0
}

// parseTarget reads "web", "web:80", "web:53/udp", "192.0.2.1", "[2001:db8::1]:80".
func parseTarget(text string) (t target, err error) {
	rest, protocol, hasProtocol := strings.Cut(text, "/")
	if hasProtocol {
		if t.protocol = model.Protocol(strings.ToLower(protocol)); t.protocol.Number() == 0 {
			return t, fmt.Errorf("invalid protocol: %q: tcp, udp and sctp have ports", protocol)
		}
	}
	t.host = rest
	if _, err := netip.ParseAddr(rest); err != nil {
		if i := strings.LastIndex(rest, ":"); i >= 0 {
			number, err := strconv.ParseUint(rest[i+1:], 10, 16)
			if err != nil || number == 0 {
				return t, fmt.Errorf("invalid port: %q", rest[i+1:])
			}
			t.host, t.port = strings.Trim(rest[:i], "[]"), uint16(number)
		}
	}
	if t.host == "" {
		return t, fmt.Errorf("invalid target: %q: want a container, a name or an address, with or without a port", text)
	}
	switch {
	case t.port == 0 && hasProtocol:
		return t, fmt.Errorf("protocol %s needs a port: %s:PORT/%s", t.protocol, t.host, t.protocol)
	case t.port != 0 && !hasProtocol:
		t.protocol = model.TCP
	}
	return t, nil
}

// isHost tells whether a word stands for this host.
func isHost(text string) bool { return text == "host" || text == "localhost" }

// isOutside tells whether a word stands for any other machine.
func isOutside(text string) bool { return text == "outside" || text == "world" }

// trace is one investigation of a way.
type trace struct {
	Investigator
	ctx   context.Context
	state privateapi.State
	home  evidence.View // the host, on the way to nowhere
	// from is the sender's record, where it is a container.
	from *privateapi.Container
	to   *privateapi.Container
	path evidence.Path
}

// Path gathers evidence of the way from one party to another. Errors: those of the daemon
// that cannot be asked, and of parties that there are not.
func (i Investigator) Path(ctx context.Context, from, to string) (evidence.Path, error) {
	want, err := parseTarget(to)
	if err != nil {
		return evidence.Path{}, err
	}
	t := &trace{Investigator: i, ctx: ctx}
	if t.state, err = i.Daemon.State(ctx); err != nil {
		return evidence.Path{}, err
	}
	if t.home, err = i.Surveyor.View(ctx, evidence.ViewQuestion{}); err != nil {
		return evidence.Path{}, err
	}
	t.path.Port, t.path.Protocol = want.port, want.protocol
	if t.path.From, t.from, err = t.party(from); err != nil {
		return evidence.Path{}, err
	}
	if err := t.findTarget(want); err != nil {
		return evidence.Path{}, err
	}
	t.service()
	if t.path.From.Running() && t.path.To.Running() {
		t.look()
	}
	return t.path, nil
}

// party finds who a word stands for.
func (t *trace) party(text string) (evidence.Party, *privateapi.Container, error) {
	switch {
	case isHost(text):
		return evidence.Party{Kind: evidence.TheHost}, nil, nil
	case isOutside(text):
		return evidence.Party{Kind: evidence.Outside}, nil, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return t.container(text)
	}
	a = a.Unmap()
	if c, ok := t.holder(a); ok {
		return t.container(c.ID)
	}
	if _, own := t.home.AddrsOn[a]; own {
		return evidence.Party{Kind: evidence.TheHost}, nil, nil
	}
	return evidence.Party{Kind: evidence.Outside, Name: a.String()}, nil, nil
}

// holder is the container that has an address now.
func (t *trace) holder(a netip.Addr) (privateapi.Container, bool) {
	for _, c := range t.state.Containers {
		for _, m := range c.Networks {
			if m.Up && slices.ContainsFunc(m.Addresses, func(at privateapi.Address) bool { return at.Address.Addr() == a }) {
				return c, true
			}
		}
	}
	return privateapi.Container{}, false
}

func (t *trace) container(ref string) (evidence.Party, *privateapi.Container, error) {
	c, err := t.Daemon.Container(t.ctx, ref)
	if err != nil {
		return evidence.Party{}, nil, err
	}
	return t.describe(c), &c, nil
}

// describe translates a container's record.
func (t *trace) describe(c privateapi.Container) evidence.Party {
	p := evidence.Party{Kind: evidence.Container, Name: c.Name, State: c.State, ExitCode: c.ExitCode, Namespace: c.Namespace}
	for _, m := range c.Networks {
		one := evidence.Membership{Network: m.Network, Up: m.Up, Interface: m.Interface, MAC: m.MAC, Bridge: m.Bridge, Port: m.Port, Names: m.Names}
		for _, n := range t.state.Networks {
			if n.ID == m.NetworkID {
				one.Internal, one.Named = n.Internal, n.Named
			}
		}
		for _, a := range m.Addresses {
			one.Addrs = append(one.Addrs, a.Address.Addr())
			if a.Gateway.IsValid() {
				one.Gateways = append(one.Gateways, a.Gateway)
			}
		}
		p.Networks = append(p.Networks, one)
	}
	return p
}

func ports(first uint16, count int) model.PortRange {
	if first == 0 {
		return model.PortRange{}
	}
	return model.PortRange{First: first, Last: first + uint16(max(count, 1)-1)}
}
