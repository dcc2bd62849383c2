package resolver

import (
	"context"
	"net"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
)

const (
	// watchInterval is how often the watch looks at sandboxes, watchBatch at how
	// many: with more, a round looks at those that have waited the longest. One look
	// takes about 0.2 ms.
	watchInterval = 3 * time.Second
	watchBatch    = 64
)

// Redirector is an Opener that can tell whether port 53 at 127.0.0.11 still leads
// to the sockets it gave. Somebody in a container who may change its firewall can
// cut that, on purpose or with a rule set that begins with a flush, and the kernel
// tells nobody outside.
type Redirector interface {
	// RedirectHolds tells whether queries get to these ports.
	RedirectHolds(ctx context.Context, namespace string, udpPort, tcpPort uint16) (bool, error)
	// Redirect makes it so.
	Redirect(ctx context.Context, namespace string, udpPort, tcpPort uint16) error
}

func (l *listener) ports() (udp, tcp uint16) {
	return uint16(l.udp.LocalAddr().(*net.UDPAddr).Port), uint16(l.tcp.Addr().(*net.TCPAddr).Port)
}

// redirectLost tells whether queries do not get to a listener any more. What cannot be
// found out counts as well: a namespace that is going is no fault of ours.
func (s *Server) redirectLost(ctx context.Context, l *listener) bool {
	r, ok := s.opener.(Redirector)
	if !ok || !l.works() {
		return false
	}
	udp, tcp := l.ports()
	holds, err := r.RedirectHolds(ctx, l.namespace, udp, tcp)
	if err != nil {
		l.log.Debug("resolver: redirect not looked at", "op", "resolver.redirect", "err", err)
		return false
	}
	return !holds
}

// restoreRedirect repairs the way to a listener and tells whether it had to. The caller
// holds mu.
func (s *Server) restoreRedirect(ctx context.Context, l *listener) (bool, error) {
	if !s.redirectLost(ctx, l) {
		return false, nil
	}
	udp, tcp := l.ports()
	return true, s.opener.(Redirector).Redirect(ctx, l.namespace, udp, tcp)
}

// watch repairs what was cut and what has broken, until ctx ends. It never waits
// for mu: whoever holds it, Close for one, may be waiting for the watch.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	var queue []string
	for {
		select {
		case <-tick.C:
		case namespace := <-s.broken:
			s.repairOne(ctx, namespace)
			continue
		case <-ctx.Done():
			return
		}
		if len(queue) == 0 {
			queue = s.namespaces()
		}
		n := min(len(queue), watchBatch)
		for _, namespace := range queue[:n] {
			s.repairOne(ctx, namespace)
		}
		queue = queue[n:]
	}
}

func (s *Server) namespaces() []string {
	if !s.mu.TryLock() {
		return nil
	}
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.listeners))
	for namespace := range s.listeners {
		out = append(out, namespace)
	}
	return out
}

// repairOne repairs one namespace, if it is still served and was cut.
func (s *Server) repairOne(ctx context.Context, namespace string) {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	l, ok := s.listeners[namespace]
	if !ok || ctx.Err() != nil {
		return
	}
	if !l.works() {
		s.replaceBroken(ctx, l)
		return
	}
	switch mended, err := s.restoreRedirect(ctx, l); {
	case err != nil:
		l.log.Warn("resolver: redirect not repaired", "op", "resolver.redirect", "err", err)
	case mended:
		l.log.Info("resolver: repaired the redirect of port 53, which was flushed", "op", "resolver.redirect")
	}
}

// driftOf says what is wrong with a listener that serves the right row.
func (s *Server) driftOf(ctx context.Context, row desired.Resolver) (string, bool) {
	l, ok := s.listeners[row.Namespace]
	switch {
	case !ok:
		return "", false
	case !l.works():
		return "listener is broken: " + row.String(), true
	case s.redirectLost(ctx, l):
		return "port 53 is not redirected: " + row.String(), true
	}
	return "", false
}
