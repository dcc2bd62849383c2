package forward

import (
	"context"
	"net/netip"
	"sync"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/limits"
)

// lane carries what arrives for one Forward row, from any number of sockets.
type lane struct {
	server  *Server
	row     desired.Forward
	sockets []*socket // guarded by Server.turn
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup
	conns   limits.Crowd
	flows   flows
	steered *socket // receives for all ports of the row; nil: every port has its own
	replies replies // of a steered lane
}

func newLane(s *Server, row desired.Forward) *lane {
	l := &lane{server: s, row: row, flows: newFlows(&s.flows, s.flowsOfRow)}
	l.conns.Share = limits.Share{Pool: &s.conns, Max: s.connsOfRow}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// linkLocal is every link-local address (RFC 4291, section 2.5.6).
var linkLocal = netip.MustParsePrefix("fe80::/10")

// reaches tells whether the lane, which is for every address of a family, is for this
// one too.
func (l *lane) reaches(local netip.Addr) bool {
	return !l.row.Rest || local.Is4() || local.IsLoopback() || local.IsLinkLocalUnicast()
}

// tooWide tells whether the row has more ports than are served.
func (l *lane) tooWide() bool { return int(l.row.Last)-int(l.row.First) >= maxForwardPorts }

// end cuts all that the lane carries, and lets nothing more in. It does not wait.
func (l *lane) end() {
	l.cancel()
	l.flows.close()
}

// run starts a goroutine that belongs to the lane.
func (l *lane) run(f func()) {
	l.work.Add(1)
	l.server.serving.Go(func() {
		defer l.work.Done()
		f()
	})
}

// target returns where a host port leads.
func (l *lane) target(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(l.row.To, l.row.ToFirst+(port-l.row.First))
}
