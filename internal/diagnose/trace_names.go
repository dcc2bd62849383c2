package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/evidence"
)

// names says whether the sender finds the other by the name that was used.
func names(p evidence.Path) []Step {
	n := p.Names
	if n.Name == "" {
		return nil
	}
	if n.Err != "" {
		return []Step{unknown(aboutName, "%s was not looked up: %s", n.Name, n.Err)}
	}
	if s, done := inHosts(p); done {
		return []Step{s}
	}
	if addrs, server := found(n); len(addrs) > 0 {
		return []Step{resolved(p, addrs, server)}
	}
	return []Step{unresolved(p).standing()}
}

// found is the first answer with addresses, and who gave it.
func found(n evidence.Names) ([]netip.Addr, netip.Addr) {
	for _, s := range n.Servers {
		if s.Answer == evidence.Answered {
			return s.Addrs, s.Server
		}
	}
	return nil, netip.Addr{}
}

// inHosts says what /etc/hosts has, if it has the name: that comes before name servers.
func inHosts(p evidence.Path) (Step, bool) {
	n := p.Names
	if len(n.Hosts) == 0 {
		return Step{}, false
	}
	if p.To.Kind == evidence.Container && !meets(p.To, n.Hosts) {
		return wrong(aboutName, inside(p.From), "see /etc/hosts there, --add-host and extra_hosts",
			"/etc/hosts of %s says that %s is %s, which is not an address of container %s (%s)",
			partyText(p.From), n.Name, list(n.Hosts), p.To.Name, list(addresses(p.To))).standing(), true
	}
	return ok(aboutName, "%s is %s, by /etc/hosts of %s", n.Name, list(n.Hosts), partyText(p.From)), true
}

// resolved judges an answer.
func resolved(p evidence.Path, addrs []netip.Addr, server netip.Addr) Step {
	n := p.Names
	if p.To.Kind == evidence.Container && !meets(p.To, addrs) {
		return wrong(aboutName, "whoever runs name server "+server.String(), "use another name for the container, or its address",
			"name server %s says that %s is %s, which is not an address of container %s (%s)", server, n.Name, list(addrs), p.To.Name, list(addresses(p.To))).standing()
	}
	if n.Expected && !n.Ours {
		return note(aboutName, "%s is %s; resolv.conf of %s does not name linkspan's resolver, 127.0.0.11", n.Name, list(addrs), partyText(p.From))
	}
	return ok(aboutName, "%s is %s, says name server %s", n.Name, list(addrs), server)
}

// unresolved says why nobody knows the name.
func unresolved(p evidence.Path) Step {
	n, from := p.Names, partyText(p.From)
	if p.To.Kind == evidence.Container && (p.Meet == "" || !named(p.From, p.To)) {
		return unknownContainer(p)
	}
	if len(n.Servers) == 0 {
		return wrong(aboutName, inside(p.From), "see its /etc/resolv.conf", "%s does not find %s: its resolv.conf names no name server", from, n.Name)
	}
	if n.Expected && !n.Ours {
		return wrong(aboutName, inside(p.From), "put \"nameserver 127.0.0.11\" back into /etc/resolv.conf there, or restart the container",
			"%s does not find %s: its resolv.conf names %s and not linkspan's resolver, 127.0.0.11", from, n.Name, servers(n.Servers))
	}
	if n.Ours && p.To.Kind == evidence.Container {
		return unknownContainer(p)
	}
	if n.Ours {
		return unresolvedOutside(p)
	}
	return byServers(p, n.Servers)
}

// unknownContainer is about a name that our own resolver should know.
func unknownContainer(p evidence.Path) Step {
	n, from, to := p.Names, p.From, p.To
	switch {
	case n.Ours && all(n.Servers, evidence.Silent):
		return wrong(aboutName, "linkspan", "linkspan network repair; is linkspan-keeper running?",
			"container %s does not find %s: linkspan's resolver, 127.0.0.11, does not answer there", from.Name, n.Name)
	case p.Meet == "":
		return wrong(aboutName, "whoever chose the networks", fmt.Sprintf("docker network connect %s %s", firstNetwork(from), to.Name),
			"container %s does not find %s: the two share no network (%s is on %s, %s on %s)", from.Name, n.Name, from.Name, networksOf(from), to.Name, networksOf(to))
	case !named(from, to):
		return wrong(aboutName, "whoever chose the network", "use a network of your own (docker network create), --link, or the daemon's --default-bridge-dns",
			"container %s does not find %s: on network %s containers have no names", from.Name, n.Name, p.Meet)
	}
	return wrong(aboutName, "whoever named it", "names are the container's own, its aliases, its hostname and its short ID",
		"container %s does not find %s: container %s is called %s on network %s", from.Name, n.Name, to.Name, strings.Join(namesOn(to, p.Meet), ", "), p.Meet)
}

// unresolvedOutside is about a name that our resolver asks others about.
func unresolvedOutside(p evidence.Path) Step {
	n := p.Names
	if onlyInternal(p.From) {
		return wrong(aboutName, "whoever chose the networks", "docker network connect NETWORK "+p.From.Name,
			"container %s does not find %s: all its networks are internal (%s), so names outside are not looked up", p.From.Name, n.Name, networksOf(p.From))
	}
	if !all(n.Servers, evidence.Silent) && !some(n.Servers, evidence.Refused) || len(n.Upstreams) == 0 {
		return byServers(p, n.Servers)
	}
	return byServers(p, n.Upstreams)
}

// byServers says what name servers outside answer.
func byServers(p evidence.Path, asked []evidence.NameServer) Step {
	n, from := p.Names, partyText(p.From)
	switch {
	case all(asked, evidence.Silent):
		return wrong(aboutName, "whoever runs "+servers(asked), "name others: --dns for a container or the daemon, or /etc/resolv.conf of the host",
			"%s does not find %s: name server %s does not answer", from, n.Name, servers(asked))
	case some(asked, evidence.NoName):
		return wrong(aboutName, "whoever chose the name", "", "%s does not find %s: there is no such name, says name server %s", from, n.Name, servers(asked))
	case some(asked, evidence.NoData):
		return wrong(aboutName, "whoever chose the name", "", "%s finds no address for %s, says name server %s", from, n.Name, servers(asked))
	}
	return wrong(aboutName, "whoever runs "+servers(asked), "name others: --dns for a container or the daemon, or /etc/resolv.conf of the host",
		"%s does not find %s: name server %s refuses or fails", from, n.Name, servers(asked))
}

func all(servers []evidence.NameServer, answer evidence.NameAnswer) bool {
	return !slices.ContainsFunc(servers, func(s evidence.NameServer) bool { return s.Answer != answer })
}

func some(servers []evidence.NameServer, answer evidence.NameAnswer) bool {
	return slices.ContainsFunc(servers, func(s evidence.NameServer) bool { return s.Answer == answer })
}

func servers(asked []evidence.NameServer) string {
	var out []netip.Addr
	for _, s := range asked {
		out = append(out, s.Server)
	}
	return list(out)
}

func list(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

// meets tells whether one of the addresses is a party's.
func meets(p evidence.Party, addrs []netip.Addr) bool {
	own := addresses(p)
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return slices.Contains(own, a) })
}

func addresses(p evidence.Party) (out []netip.Addr) {
	for _, m := range p.Networks {
		out = append(out, m.Addrs...)
	}
	return out
}

func networksOf(p evidence.Party) string {
	var out []string
	for _, m := range p.Networks {
		out = append(out, m.Network)
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

func firstNetwork(p evidence.Party) string {
	for _, m := range p.Networks {
		if m.Named {
			return m.Network
		}
	}
	return "NETWORK"
}

// named tells whether two find each other by name on some network of both.
func named(a, b evidence.Party) bool {
	for _, m := range a.Networks {
		if m.Named && slices.ContainsFunc(b.Networks, func(o evidence.Membership) bool { return o.Network == m.Network }) {
			return true
		}
	}
	return false
}

func namesOn(p evidence.Party, network string) []string {
	for _, m := range p.Networks {
		if m.Network == network {
			return m.Names
		}
	}
	return nil
}

func onlyInternal(p evidence.Party) bool {
	return p.Kind == evidence.Container && len(p.Networks) > 0 && !slices.ContainsFunc(p.Networks, func(m evidence.Membership) bool { return !m.Internal })
}

// inside is whose it is what is set in a party's namespace.
func inside(p evidence.Party) string {
	if p.Kind == evidence.Container {
		return "container " + p.Name
	}
	return theAdministrator
}
