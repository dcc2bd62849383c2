package forward

import (
	"sync/atomic"
	"time"
)

// Bounds of rows.
const (
	// maxHeldPorts is how many ports a reservation may have to get a socket for
	// each, which holds in every respect; with more it is guarded. A socket costs the
	// kernel some 3 KiB, and a descriptor.
	maxHeldPorts = 1024
	// maxForwardPorts is the same for forwards that cannot do without.
	maxForwardPorts = 4096
	// maxHosts is how many addresses of one socket the packet filter tells apart.
	// With more it lets all pass, and connections are sorted out afterwards.
	maxHosts = 32
)

// Bounds of traffic. A connection takes two descriptors, and four more for pipes
// while data flows; a UDP client takes one.
const (
	maxConns      = 4096 // TCP connections of one row
	maxConnsTotal = 16384
	maxFlows      = 1024 // UDP clients of one row; one more, and the longest idle goes
	maxFlowsTotal = 8192
	maxDatagram   = 65535
	// backlog is how many connections wait to be accepted, for instance while
	// the socket changes hands. The kernel lowers it to net.core.somaxconn.
	backlog = 4096
	// maxBurst is how much is taken from one socket before it is the others' turn.
	maxBurst = 64
)

// Time allowed.
const (
	dialTime    = 10 * time.Second // for the container to take a connection
	flowTime    = 90 * time.Second // without a datagram either way, then a UDP client is forgotten
	idleTime    = time.Minute      // then a silent TCP peer is asked whether it is there
	probeTime   = 15 * time.Second // between questions
	probes      = 5                // without an answer; then it is gone
	faultPause  = 50 * time.Millisecond
	ownerTime   = 2 * time.Second // to find out who holds a port
	maxOwnerFDs = 200_000         // descriptors looked at for that
)

// gate lets at most max in at a time and never makes anybody wait.
type gate struct {
	max    int64
	inside atomic.Int64
}

func (g *gate) enter() bool {
	if g.inside.Add(1) <= g.max {
		return true
	}
	g.inside.Add(-1)
	return false
}

func (g *gate) leave() { g.inside.Add(-1) }
