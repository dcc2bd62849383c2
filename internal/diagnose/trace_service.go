package diagnose

import (
	"fmt"
	"strings"

	"github.com/linkspan/linkspan/internal/evidence"
)

// balanced says where connections to a service's address are led, and whether somebody waits
// for them there.
func balanced(p evidence.Path) []Step {
	b := p.Balanced
	if b == nil {
		return nil
	}
	var ready, leave []string
	strayed := map[bool][]string{} // from the maps of the kernel: who is not there, and who is there
	for _, one := range b.Backends {
		if led := b.Shares[one.Addr] > 0; led != one.Ready {
			strayed[led] = append(strayed[led], backendText(one))
		}
		if one.Ready {
			ready = append(ready, backendText(one))
		} else {
			leave = append(leave, backendText(one))
		}
	}
	where := "the maps of table inet linkspan-balance, chain prerouting, in the namespace of network " + b.Network
	switch {
	case p.Within.Network != b.Network:
		return []Step{wrong(aboutService, "whoever chose the networks", fmt.Sprintf("docker network connect %s CONTAINER", b.Network),
			"%s is service %s on network %s, and leads there from containers of that network alone", p.Target, b.Service, b.Network)}
	case len(ready) == 0:
		return []Step{wrong(aboutService, "whoever runs service "+b.Service, fmt.Sprintf("docker service ps %s; docker inspect, of its tasks: are they healthy?", b.Service),
			"service %s has no task that is ready: connections to %s are refused", b.Service, p.Target)}
	case b.Err != "":
		return []Step{unknown(aboutService, "where this host leads connections to service %s could not be read: %s", b.Service, b.Err)}
	case len(strayed) > 0:
		return []Step{wrong(aboutService, theAdministrator, "linkspan network repair", "%s do not lead to %s%s", where, words(strayed[false]), but(strayed[true]))}
	}
	text := fmt.Sprintf("%s lead new connections in turn to %s", where, words(ready))
	if len(leave) > 0 {
		text += "; not ready, and left with the connections that it has: " + words(leave)
	}
	return append([]Step{ok(aboutService, "%s", text)}, backends(p, len(ready))...)
}

func but(others []string) string {
	if len(others) == 0 {
		return ""
	}
	return ", but to " + words(others)
}

func words(all []string) string { return strings.Join(all, ", ") }

func backendText(b evidence.Backend) string {
	at := "elsewhere"
	if b.Here != nil {
		at = "on this host"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s (%s)", b.Name, b.Addr, at))
}

// backends says which of the tasks here nobody waits in. An attempt may have met another.
func backends(p evidence.Path, ready int) (out []Step) {
	for _, b := range p.Balanced.Backends {
		if !b.Ready || b.Here == nil || b.View == nil {
			continue
		}
		at := p
		at.To, at.Target = *b.Here, b.Addr
		for _, s := range listening(at, b.View, *b.Here) {
			if s.Status == Wrong {
				s.Text += fmt.Sprintf(": one of %d connections to service %s fails", ready, p.Balanced.Service)
			}
			out = append(out, s.standing())
		}
	}
	return out
}
