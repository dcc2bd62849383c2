package diagnose

import (
	"fmt"
	"strings"

	"github.com/linkspan/linkspan/internal/evidence"
)

// peers is whether the other hosts on networks of this one get what is sent to them.
func peers(h evidence.Host) (out []Finding) {
	for _, p := range h.Daemon.Peers {
		if f := peer(p); f != nil {
			out = append(out, *f)
		}
	}
	if len(h.Daemon.Peers) == 0 {
		return nil
	}
	return or(out, "other hosts on networks of this one answer (%d)", len(h.Daemon.Peers))
}

// peer says what is wrong with the way to one host; nil: nothing is.
func peer(p evidence.Peer) *Finding {
	who := fmt.Sprintf("host %s (on %s)", p.Addr, strings.Join(p.Networks, ", "))
	var f Finding
	switch {
	case p.Route.Err != "":
		f = bad("ip route", "this host has no route to %s: %s", who, p.Route.Err)
	case p.MTU > 0 && p.MTU < p.Largest:
		f = bad(fmt.Sprintf("raise the MTU of %s, or create the network anew with a smaller one (-o com.docker.network.driver.mtu)", p.Route.Link),
			"packets to %s have up to %d bytes, and %s takes %d: large ones are lost", who, p.Largest, p.Route.Link, p.MTU)
	case p.Hop.Unanswered(), p.Probe.Result == evidence.ProbeUnreachable:
		f = bad("see whether it runs: docker node ls", "%s cannot be reached", who)
		f.Whose = "whoever runs " + p.Addr.String()
	case p.Probe.Result == evidence.ProbeSilent:
		f = odd("let 7946/tcp and 4789/udp, or what --data-path-port says, through between the hosts", "%s does not answer an echo request: a firewall on the way may hold back more", who)
	default:
		return nil
	}
	return &f
}
