package firewall_test

import (
	"regexp"
	"strings"
)

// sentence is what rules of one kind are for: rules of iptables have no room for it.
type sentence struct {
	table, chain string
	rule         *regexp.Regexp
	text         string
}

// sentences are asked in order: the first that fits says it. One that fits no rule of any
// page is an error, and so is a rule that has none.
var sentences = read(`
mangle FORWARD
	-j LINKSPAN-FORWARD: what no ACCEPT in DOCKER-USER may overrule; this table comes before filter

mangle LINKSPAN-FORWARD
	DNAT -j MARK: to a host port of its own network: the mark tells the bridge's table, and POSTROUTING
	^! -i .* -j DROP: into an internal network, whoever accepts it
	! -o .* -j DROP: out of an internal network, whoever accepts it
	^-i \S+ -j DROP: between containers of an internal network with icc=false (frames that br_netfilter shows to this chain)
	-g LINKSPAN-LEAVING: from a network
	-j LINKSPAN-ENTERING: into a network

mangle LINKSPAN-LEAVING
	-o .* -j RETURN: to one of our networks: LINKSPAN-ENTERING and DOCKER decide
	RELATED,ESTABLISHED -j RETURN: answers
	INVALID -j DROP: of no connection: nothing would translate its source
	169.254: from a link-local address, which is for its link (RFC 3927, section 2.7)
	! -i .* -j MARK: of the subnet, but by another bridge (a container on two networks), for which no address was chosen: LINKSPAN-POSTROUTING
	UNTRACKED -j DROP: neighbour discovery, which is for its link and not translated either

mangle LINKSPAN-ENTERING
	^-s .* -j DROP: a container's source address from outside
	DNAT -j RETURN: to a published port
	RELATED,ESTABLISHED -j RETURN: answers
	--mark .* -j RETURN: what the administrator has marked
	^-d \S+ -p (icmp|ipv6-icmp) -j RETURN: ICMP to a container that is routed to
	^-d \S+ -i .* -j RETURN: a published port, at the container's own address, from an interface that is trusted
	--ctorigdst .* -j RETURN: a published port, at the container's own address
	^-d \S+ -j RETURN: all of an unprotected container
	^-o \S+ -j DROP: direct routing

raw PREROUTING
	^-s .* -j DROP: 127.0.0.0/8 is for this host alone: nobody claims to be there
	^-d .* -j DROP: 127.0.0.0/8 is for this host alone: nobody gets there

filter FORWARD
	! --ctstate: neither side is ours and forwarding is on only for us
	-j DOCKER-USER: first the administrator's own rules
	-j DOCKER-FORWARD: then ours

filter DOCKER-FORWARD
	-j DOCKER-CT: answers to what was let through
	-j DOCKER-INTERNAL: the border of internal networks
	-j DOCKER-BRIDGE: into a network: published ports, and the end of all else
	^-i \S+ -o \S+ -j DROP: between containers, icc=false (frames that br_netfilter shows to this chain)
	^-i \S+ ! -o .* -j ACCEPT: out of a network
	^-i \S+ -j ACCEPT: out of a network, and within it

filter DOCKER-CT
	-j ACCEPT: answers to what was let through
filter DOCKER-INTERNAL
	^! -i: into an internal network
	^-i: out of an internal network
filter DOCKER-BRIDGE
	-j DOCKER: by the bridge that it goes out to

filter DOCKER
	^! -i \S+ -o \S+ -j DROP: unpublished ports, other networks, direct routing
	--mark .* -j ACCEPT: what the administrator has marked
	^-s .* -j ACCEPT: a link to an exposed port (frames that br_netfilter shows to this chain)
	--ctstate DNAT .* -j ACCEPT: a published port, by the host port that the client named
	-p (icmp|ipv6-icmp) -j ACCEPT: ICMP to a container that is routed to
	^-d \S+ -i .* -j ACCEPT: a published port, at the container's own address, from an interface that is trusted
	--ctorigdst .* -j ACCEPT: a published port, at the container's own address
	^-d \S+ -o \S+ -j ACCEPT: all of an unprotected container

nat PREROUTING
	-j DOCKER: to an address of this host: published ports, for all but the container's own network
	-j LINKSPAN-DNAT: published ports, for the container's own network
nat OUTPUT
	-j (DOCKER|LINKSPAN-OUTPUT): published ports, for the host's own programs
nat LINKSPAN-OUTPUT
	::1: the kernel does not route it, a forwarder in user space serves it
	fe80: link-local: the kernel does not forward it either
	-j DOCKER: published ports, for the host's own programs
nat DOCKER
	-j DNAT: a published port, for all but the container's own network
nat LINKSPAN-DNAT
	-j DNAT: the same port, for the container's own network

nat POSTROUTING
	-j LINKSPAN-POSTROUTING: first what needs the host's address to come back, and what keeps its own
	-j MASQUERADE: leaves under the host's address
	-j SNAT: leaves under an address of the host that was chosen
nat LINKSPAN-POSTROUTING
	-j LINKSPAN-HAIRPIN: to a published port of its own network, where br_netfilter hides by which interface it came in
	^-s .* --mark .* -j MASQUERADE: came by another bridge: leaves under the address of the route
	--mark .* -j MASQUERADE: to a published port of its own network
	127.0.0.0/8 .* -j MASQUERADE: from localhost to a published port
	^-o lo: stays on this host
	-j LINKSPAN-STAYS: to one of our networks
nat LINKSPAN-HAIRPIN
	-j MASQUERADE: a container that uses a host port of its own network: answers come back through this host
nat LINKSPAN-STAYS
	-j ACCEPT: stays in our networks, with its true source
`)

// read reads blocks of "TABLE CHAIN" and, below it, "REGULAR EXPRESSION: text".
func read(text string) (out []*sentence) {
	var table, chain string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if !strings.HasPrefix(line, "\t") {
			table, chain, _ = strings.Cut(line, " ")
			continue
		}
		rule, about, _ := strings.Cut(line[1:], ": ")
		out = append(out, &sentence{table, chain, regexp.MustCompile(rule), about})
	}
	return out
}
