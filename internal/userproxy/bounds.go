package userproxy

import "time"

// Bounds of rows.
const (
	// maxProxiedPorts is how many ports a proxy may have that needs a socket for each.
	maxProxiedPorts = 4096
	// maxHosts is how many addresses of one socket the packet filter tells apart.
	// With more it lets all pass, and connections are sorted out afterwards.
	maxHosts = 32
)

// Bounds of traffic, shared fairly by rows and, in each, by the addresses of clients:
// see limits.Crowd. leastConns and leastFlows are for everybody, whatever others take.
const (
	maxConns      = 4096 // TCP connections of one row
	maxConnsTotal = 16384
	leastConns    = 16
	maxFlows      = 1024 // UDP clients of one row; one more, and the longest idle goes
	maxFlowsTotal = 8192
	leastFlows    = 16
	maxPipes      = 1024 // with data of connections on its way
	maxDatagram   = 65535
	// maxBurst is how much is taken from one socket before it is the others' turn.
	maxBurst = 64
)

// What traffic takes of the descriptors that the process may have at most: one part in
// so many. A connection has two descriptors, and so has a pipe; a UDP client has one,
// or two at a steered socket. All together leave more than half to what must not be
// kept waiting: the process's own socket, containers' output, names, and the ports.
const (
	filesOfConns = 8
	filesOfFlows = 16
	filesOfPipes = 32
)

// Time allowed.
const (
	dialTime    = 10 * time.Second       // for the container to take a connection
	flowTime    = 90 * time.Second       // without a datagram either way, then a UDP client is forgotten
	idleTime    = time.Minute            // then a silent TCP peer is asked whether it is there
	probeTime   = 15 * time.Second       // between questions
	probes      = 5                      // without an answer; then it is gone
	repairFirst = 100 * time.Millisecond // before a broken socket is opened anew
	repairLast  = time.Minute            // the longest pause between two tries
)
