package nft

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
)

// tableOwner is the flag of tables that nobody else may change or flush, and that end with
// the socket that made them (NFT_TABLE_F_OWNER, Linux 5.12).
const tableOwner = 2

// HeldPrefix is how names of held tables begin.
const HeldPrefix = tableName + "-hold-"

// Bridges whose containers nobody else's accept opens, by family: with the iptables
// backend, an administrator may open those that allow direct routing.
const (
	setClosed4 = "closed4"
	setClosed6 = "closed6"
)

// heldTables are what a process holds in its hands (Options.Held) for the time in which
// somebody has taken all other tables away. They say nothing that those do not say, but for
// new connections alone, and translate nothing:
//
//	prerouting …  empty: while there is a nat chain, and somebody asks for the state of
//	              connections, the kernel goes on translating those that there are
//	forward       what comes to containers' own addresses: who was let in before, and
//	              nobody else
//	icc           frames between containers of a network that keeps them apart; not there
//	              without such a network
//
// What is translated was let in by a rule that is there. forward comes after the rules that
// it repeats, so that those are what decides, and counts, while they are there; icc before
// them, since they take off the mark by which a frame of a published port is known.
func heldTables(s shape) []table {
	const (
		priorityNATDest, priorityNATSource = -100, 100
		priorityAfterFilter                = 10
		priorityBeforeICC                  = priorityICC - 1
	)
	nat := func(name string, hook uint32, priority int32) chain {
		return chain{name, base{"nat", hook, priority}, nil}
	}
	packets := inetTable("linkspan", shape{})
	packets.name, packets.owned = s.held, true
	packets.sets = heldSets(packets.sets, s)
	packets.chains = []chain{
		{chainOpen, base{}, openRules()},
		{chainDirect, base{}, directRules()},
		nat("prerouting", unix.NF_INET_PRE_ROUTING, priorityNATDest),
		nat("input", unix.NF_INET_LOCAL_IN, priorityNATSource),
		nat("output", unix.NF_INET_LOCAL_OUT, priorityNATDest),
		nat("postrouting", unix.NF_INET_POST_ROUTING, priorityNATSource),
		{"forward", base{"filter", unix.NF_INET_FORWARD, priorityAfterFilter}, heldForwardRules(s)},
	}
	frames := table{
		family: unix.NFPROTO_BRIDGE, name: s.held, comment: packets.comment, owned: true, gone: s.apart == 0,
		sets: append([]set{noICCSet()}, linkSets(setLinked4, setLinked6)...),
		chains: []chain{
			{"apart", base{}, append(linkedFrames(false), drop("between containers, icc=false"))},
			{"icc", base{"filter", unix.NF_INET_FORWARD, priorityBeforeICC}, []rule{
				accept("a published port, reached by way of br_netfilter", under(packetMark, native32(translatedMark), native32(translatedMark))),
				betweenApart(),
			}},
		},
	}
	return []table{s.leaveAlone(packets), frames}
}

// heldSets are those of all sets that rules here ask; nobody counts by them.
func heldSets(all []set, s shape) (out []set) {
	wanted := []string{
		setBridges, setInternal, setSame, setIntra, setDirect4, setDirect6, setICMP4, setICMP6,
		setTrusted4, setTrusted6, setTrusted4Range, setTrusted6Range, setOpen4, setOpen6, setOpen4Range, setOpen6Range, setLink4, setLink6,
	}
	if !s.beside {
		wanted = append(wanted, setGuard)
	}
	for _, one := range all {
		if one.counted = false; slices.Contains(wanted, one.name) {
			out = append(out, one)
		}
	}
	if s.beside {
		const what = "bridges whose containers are closed to direct routing"
		out = append(out, set{name: setClosed4, comment: what, key: []datatype{typeIfname}, deny: true},
			set{name: setClosed6, comment: what, key: []datatype{typeIfname}, deny: true})
	}
	return out
}

// heldForwardRules are those of forwardRules that shut something, and what they let in
// before. Answers come first: they are all but the first packet of a connection.
func heldForwardRules(s shape) []rule {
	const why = "what no rule lets in: the tables with the rules are gone"
	rules := slices.Concat([]rule{
		accept("answers to what was let through", answering()),
		accept("within one network (frames that br_netfilter shows to this chain)", in(setIntra, field.IIFName, field.OIFName)),
		drop("out of an internal network", in(setInternal, field.IIFName)),
		drop("into an internal network", in(setInternal, field.OIFName)),
		accept("translated, so by a rule that is there", translated()),
	}, linkedPackets(), acceptMarked(s), []rule{
		jump("to a container's own address", chainDirect, in(setBridges, field.OIFName)),
	})
	if s.beside {
		return append(rules,
			drop(why, is(field.Family, unix.NFPROTO_IPV4), in(setClosed4, field.OIFName)),
			drop(why, is(field.Family, unix.NFPROTO_IPV6), in(setClosed6, field.OIFName)))
	}
	return append(rules,
		drop(why, in(setBridges, field.OIFName)),
		accept("out of a network", in(setBridges, field.IIFName)),
		drop("neither side is ours and forwarding is on only for us", in(setGuard, field.Family)))
}

// closedTo are the bridges' elements of the sets above.
func closedTo(r desired.BridgePolicy, bridge string) (out []element) {
	if !r.Direct4 {
		out = append(out, element{set: setClosed4, key: bridge})
	}
	if !r.Direct6 {
		out = append(out, element{set: setClosed6, key: bridge})
	}
	return out
}
