// Package stream tells the hosts of a swarm who is on their networks: each host publishes
// its own endpoints to every manager, and a manager reflects them to all hosts that take
// part in the network.
//
//	host ── Client ── rows of its own ──▶ Reflector of a manager ── rows of the others ──▶ Client ── host
//
// It is soft state: a manager that starts knows nothing until the hosts have come back to
// it, and a host keeps what it knew until somebody knows better. So a host uses one
// manager's rows at a time, and what it had from another before stays for a grace, or
// until this manager has all rows of the host that they are of.
//
// Messages are JSON behind their length (message.go). Everything read is bounded, every
// read and write has a deadline. It must not know swarmkit's types, nor what rows are for.
package stream

import (
	"net/netip"
	"slices"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// Port is the TCP port of managers at which hosts find them.
const Port = 7946

// Times of a session.
const (
	// keepAlive is how often either side says something.
	keepAlive = 3 * time.Second
	// patience is how long it may be silent, and a write may take.
	patience = 10 * time.Second
	// DefaultGrace is how long rows stay of a host that is silent.
	DefaultGrace = 15 * time.Second
)

// Bounds of what a host may publish.
const (
	maxRows     = 16384
	maxNetworks = 4096
	maxAddrs    = 16
	maxNames    = 64
	maxName     = 256
	maxPorts    = 1024 // of a service that all hosts publish
)

// Row is an endpoint as a manager tells of it. Of rows with one address that with the
// highest Rev is the last that came.
type Row struct {
	model.Remote
	Rev uint64
}

// ID names a row: hosts choose the IDs of their endpoints by themselves.
type ID struct {
	Node     string
	Endpoint model.EndpointID
}

func (r Row) id() ID { return ID{r.Node, r.Endpoint} }

// same tells whether two rows say the same.
func same(a, b model.Remote) bool {
	return a.Network == b.Network && a.Endpoint == b.Endpoint && a.Node == b.Node && a.Host == b.Host && a.VTEP == b.VTEP &&
		slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Names, b.Names) && a.Serving == b.Serving && a.Service.Equal(b.Service) &&
		a.PublicKey == b.PublicKey && a.Gate == b.Gate
}

// valid tells whether a host may say such a thing.
func valid(r model.Remote) bool {
	if r.Network == "" || len(r.Network) > maxName || r.Endpoint == "" || len(r.Endpoint) > maxName || len(r.Host) > maxName || len(r.Node) > maxName {
		return false
	}
	if r.PublicKey != "" && !model.ValidKey(r.PublicKey) {
		return false
	}
	if r.Gate {
		return unicast(r.VTEP) && len(r.Addrs)+len(r.Names) == 0 && r.Service == nil && !r.Serving
	}
	if !unicast(r.VTEP) || len(r.Addrs) == 0 || len(r.Addrs) > maxAddrs || len(r.Names) > maxNames {
		return false
	}
	for i, n := range r.Names {
		if n == "" || len(n) > maxName || slices.Contains(r.Names[:i], n) {
			return false
		}
	}
	return validService(r.Service) && !slices.ContainsFunc(r.Addrs, func(a netip.Addr) bool { return !unicast(a) })
}

func validService(s *model.ServiceEndpoint) bool {
	if s == nil {
		return true
	}
	for _, name := range append([]string{s.Service, s.Name, s.Task}, s.Aliases...) {
		if name == "" || len(name) > maxName {
			return false
		}
	}
	if len(s.VIPs) > maxAddrs || len(s.Aliases) > maxNames || len(s.Ingress) > maxPorts {
		return false
	}
	for _, p := range s.Ingress {
		if p.Protocol.Number() == 0 || p.Target == 0 || p.Published == 0 || len(p.Name) > maxName {
			return false
		}
	}
	return !slices.ContainsFunc(s.VIPs, func(a netip.Addr) bool { return !unicast(a) })
}

func unicast(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback()
}
