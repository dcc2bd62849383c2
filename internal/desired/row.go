package desired

import (
	"cmp"
	"slices"
	"strings"
)

// Kind is a kind of rows, by the word that their String begins with. It is what
// whoever applies rows is chosen by, and it is the same in every release.
type Kind string

// The kinds of rows.
const (
	KindPolicy    Kind = "policy" // what the firewall does; of many types
	KindNamespace Kind = "namespace"
	KindLink      Kind = "link"
	KindSysctl    Kind = "sysctl"
	KindLoopback  Kind = "loopback"
	KindFence     Kind = "fence"
	KindShape     Kind = "shape"
	KindAddr      Kind = "addr"
	KindRoute     Kind = "route"
	KindRule      Kind = "rule"
	KindFDB       Kind = "fdb"
	KindNeigh     Kind = "neigh"
	KindBalance   Kind = "balance"
	KindAnnounce  Kind = "announce"
	KindUplink    Kind = "uplink"
	KindWireGuard Kind = "wireguard"
	KindName      Kind = "name"
	KindResolver  Kind = "resolver"
	KindForward   Kind = "forward"
	KindReserve   Kind = "reserve" // held by whoever reserved them before the commit; nothing to apply

	KindWireGuardPeer Kind = "wireguard-peer"
)

// Kinds returns every kind, in the order in which rows are applied; removal runs in
// reverse. Whoever applies rows goes by it. The firewall knows a link before it
// exists; a link has its settings, and what fences it, before its addresses, and those
// before its routes; connections are led there, and the neighbours told, when all of that is
// there; a bridge that is ready is plugged into the outside; and names lead to it last.
func Kinds() []Kind { o := order(); return o[:] }

func order() [21]Kind {
	return [...]Kind{
		KindPolicy, KindNamespace, KindLink, KindSysctl, KindLoopback, KindFence, KindShape, KindAddr, KindRoute, KindRule, KindFDB, KindNeigh, KindBalance, KindAnnounce, KindUplink,
		KindWireGuard, KindWireGuardPeer, KindName, KindResolver, KindForward, KindReserve,
	}
}

// Rank is the place of the kind in the order of Kinds; behind all of them for one that
// is not known.
func (k Kind) Rank() int {
	o := order()
	if i := slices.Index(o[:], k); i >= 0 {
		return i
	}
	return len(o)
}

// Key identifies a row: two rows with one Key are two claims on one kernel
// object.
type Key struct {
	Kind Kind
	Name string
}

// Compare orders keys as State.All does: by the rank of their kind, then by name.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Kind.Rank(), o.Kind.Rank()), cmp.Compare(k.Name, o.Name))
}

// Row is one thing wanted.
type Row interface {
	Key() Key
	// Space is the network namespace that the row is about: HostNamespace, or the
	// name of a Namespace. It is also that of a row that is no object of the kernel.
	Space() string
	// String is one line that a person can read; it shows every field, because plans
	// and goldens are compared in that form.
	String() string
}

// Types returns a row of every type, with nothing in it. Tests range over it, so that
// no type is left out by anyone who must know them all.
func Types() []Row {
	return []Row{
		BridgePolicy{}, Masquerade{}, ForwardDrop{}, AcceptMark{}, Direct{}, DirectFrom{}, DirectICMP{}, Allow{}, PortSecurity{}, Identity{}, Elsewhere{}, Transparent{}, Publish{}, Served{},
		Namespace{}, Link{}, Sysctl{}, Loopback{}, Fence{}, Shape{}, Addr{}, Route{}, Rule{}, Lookup{}, FDB{}, Neigh{}, Balance{}, Hairpin{}, IngressGuard{}, IngressNode{}, IngressSource{}, IngressTarget{}, Announce{}, Uplink{},
		WireGuard{}, WireGuardPeer{}, Name{}, Resolver{}, Forward{}, Reserve{},
	}
}

// HostNamespace is the Namespace field of rows that live in the network
// namespace of the engine itself.
const HostNamespace = ""

func key(kind Kind, parts ...string) Key { return Key{kind, strings.Join(parts, " ")} }

func where(namespace string) string {
	if namespace == HostNamespace {
		return "host"
	}
	return namespace
}
