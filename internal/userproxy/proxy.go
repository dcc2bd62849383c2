package userproxy

import (
	"context"
	"net/netip"
	"sync"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/limits"
)

// proxy carries what arrives for one Forward row, from any number of sockets.
type proxy struct {
	server  *Server
	row     desired.Forward
	sockets []*socket // guarded by Server.table
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup
	conns   limits.Crowd
	flows   flows
	steered *socket // receives for all ports of the row; nil: every port has its own
	replies replies // of a steered proxy
}

func newProxy(s *Server, row desired.Forward) *proxy {
	p := &proxy{server: s, row: row, flows: newFlows(&s.flows, s.flowsOfRow)}
	p.conns.Share = limits.Share{Pool: &s.conns, Max: s.connsOfRow}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// linkLocal is every link-local address (RFC 4291, section 2.5.6).
var linkLocal = netip.MustParsePrefix("fe80::/10")

// reaches tells whether the proxy, which is for every address of a family, is for this
// one too.
func (p *proxy) reaches(local netip.Addr) bool {
	return !p.row.Rest || local.Is4() || local.IsLoopback() || local.IsLinkLocalUnicast()
}

// tooWide tells whether the row has more ports than are served.
func (p *proxy) tooWide() bool { return int(p.row.Last)-int(p.row.First) >= maxProxiedPorts }

// end cuts all that the proxy carries, and lets nothing more in. It does not wait.
func (p *proxy) end() {
	p.cancel()
	p.flows.close()
}

// run starts a goroutine that belongs to the proxy.
func (p *proxy) run(f func()) {
	p.work.Add(1)
	p.server.serving.Go(func() {
		defer p.work.Done()
		f()
	})
}

// target returns where a host port leads.
func (p *proxy) target(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(p.row.To, p.row.ToFirst+(port-p.row.First))
}
