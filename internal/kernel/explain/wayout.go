package explain

import "github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"

// wayOut says what can be done about a rule of ours that drops a packet, by the comment
// that the rule has.
func wayOut(comment string) string {
	switch comment {
	case commentUnpublished:
		return "Publish the port (-p HOST_PORT:PORT) and ask for it at the host's address. Or open containers' own addresses: " +
			"the published ports of all networks with the daemon's --allow-direct-routing, those of one network with its option gateway_mode_ipv4=routed " +
			"(or _ipv6; nat-unprotected: all ports), or for what comes by an interface with trusted_host_interfaces. " +
			"A container of another network is reached when both join a common one (docker network connect)."
	case commentICC:
		return "The network keeps its containers apart (icc=false): publish the port, link the two (--link), or create the network without that."
	case commentInternalOut, commentInternalIn:
		return "The network is internal: connect the container to another network besides (docker network connect), or create it without --internal."
	case commentGuard:
		return "The engine switched forwarding on for its own networks alone: start it with --ip-forward-no-drop, or accept what the host is to forward in a chain of your own and switch ip_forward on before it starts."
	case commentLoopback:
		return "Addresses in 127.0.0.0/8 are for this host alone: publish the port at another address of it."
	case commentSource:
		return "Nobody outside may claim a container's address; if it is really there, two networks use the same subnet."
	}
	return ""
}

// Comments of rules in the tables of the nftables backend.
const (
	commentUnpublished = "unpublished ports, other networks, direct routing"
	commentICC         = "between containers, icc=false"
	commentInternalOut = "out of an internal network"
	commentInternalIn  = "into an internal network"
	commentGuard       = "neither side is ours and forwarding is on only for us"
	commentLoopback    = "127.0.0.0/8 is for this host alone"
	commentSource      = "a container's source address from outside"
)

// commentOf is the comment that the nftables backend has for what a rule of the iptables
// backend drops, by its chain; empty if there is none.
func commentOf(chain string, r *ruleset.Rule) string {
	switch {
	case r == nil:
	case chain == "DOCKER":
		return commentUnpublished
	case chain == "LINKSPAN-ENTERING" && r.Source.Prefix.IsValid():
		return commentSource
	case chain == "LINKSPAN-ENTERING":
		return commentUnpublished
	case chain == "DOCKER-INTERNAL", chain == "LINKSPAN-FORWARD" && r.Target == "DROP":
		return commentInternalOut
	case chain == "DOCKER-FORWARD" && r.In.Text != "" && r.In == r.Out:
		return commentICC
	}
	return ""
}
