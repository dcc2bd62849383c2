package nft

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// element is one element of a set, comparable. In a set of intervals, key is the
// first value of one; after is the first behind it, empty if there is none. In a
// set of ranged concatenations, last is the last in it instead.
type element struct {
	set   string
	key   string
	after string
	last  string
	data  string // of a map
}

// render turns one policy row into the elements that stand for it alone. It is
// pure, and no element stands for two rows. What follows from a network's row
// and a port's together is membership's part.
func render(row desired.Row) ([]element, error) {
	switch r := row.(type) {
	case desired.BridgePolicy:
		return renderIsolate(r)
	case desired.Masquerade:
		return renderMasquerade(r)
	case desired.PortSecurity:
		return renderPin(r)
	case desired.Identity:
		return renderIdentity(r)
	case desired.ForwardDrop:
		return renderGuard(r), nil
	case desired.AcceptMark:
		return nil, nil // a rule: see shape
	case desired.Transparent:
		return renderTransparent(r)
	case desired.Publish:
		return renderPublish(r)
	case desired.Elsewhere:
		return renderElsewhere(r)
	case desired.Served:
		return renderServed(r)
	case desired.Allow:
		return renderAllow(r)
	case desired.Direct:
		return renderDirect(r)
	case desired.DirectICMP:
		return renderDirectICMP(r)
	case desired.DirectFrom:
		return renderDirectFrom(r)
	case desired.Balance:
		return renderBalance(r)
	case desired.Hairpin:
		return renderHairpin(r)
	case desired.IngressGuard:
		return renderIngressGuard(r)
	case desired.IngressNode:
		return renderIngressNode(r)
	case desired.IngressSource:
		return renderIngressSource(r)
	case desired.IngressTarget:
		return renderIngressTarget(r)
	}
	return nil, model.Errorf(model.NotImplemented, "nftables cannot express %q", row)
}

// Elements returns where in our sets a policy row stands: the name of a set, and a key in it.
// Rows that cannot be rendered stand nowhere.
func Elements(row desired.Row) (out [][2]string) {
	elements, err := render(row)
	if err != nil {
		return nil
	}
	for _, e := range elements {
		out = append(out, [2]string{e.set, e.key})
	}
	return out
}

func renderIsolate(r desired.BridgePolicy) ([]element, error) {
	bridge, err := nameKey(r.Bridge)
	if err != nil {
		return nil, err
	}
	out := []element{{set: setBridges, key: bridge}, {set: setSame, key: bridge + bridge}}
	if r.Internal {
		out = append(out, element{set: setInternal, key: bridge})
	}
	if r.ICC {
		out = append(out, element{set: setIntra, key: bridge + bridge})
	}
	return append(out, closedTo(r, bridge)...), nil
}

func renderMasquerade(r desired.Masquerade) ([]element, error) {
	if !r.Subnet.IsValid() {
		return nil, model.Errorf(model.Invalid, "masquerade: no subnet")
	}
	first := r.Subnet.Masked().Addr()
	set, chosen := setMasq6, setSource6
	if first.Is4() {
		set, chosen = setMasq4, setSource4
	}
	out := element{set: set, key: addrKey(first)}
	if after := lastAddr(r.Subnet).Next(); after.IsValid() {
		out.after = addrKey(after)
	}
	if !r.Source.IsValid() {
		return []element{out}, nil
	}
	bridge, err := nameKey(r.Bridge)
	if err != nil || r.Source.BitLen() != first.BitLen() {
		return nil, errors.Join(err, model.Errorf(model.Invalid, "masquerade: %s as %s", r.Subnet, r.Source))
	}
	return []element{{set: chosen, key: bridge, data: addrKey(r.Source)}, out}, nil
}

// renderElsewhere has the addresses among those of the port. They are not at home on
// its bridge, and nobody's neighbour there.
func renderElsewhere(r desired.Elsewhere) ([]element, error) {
	port, err := nameKey(r.Port)
	if err != nil {
		return nil, err
	}
	var out []element
	for _, a := range r.Addrs {
		if a = a.Unmap(); !a.IsValid() {
			return nil, model.Errorf(model.Invalid, "elsewhere of %s: no address", r.Port)
		}
		out = append(out, element{set: pick(a, setPinIP4, setPinIP6), key: port + addrKey(a)})
	}
	return out, nil
}

func renderGuard(r desired.ForwardDrop) []element {
	var out []element
	if r.IPv4 {
		out = append(out, element{set: setGuard, key: string([]byte{unix.NFPROTO_IPV4})})
	}
	if r.IPv6 {
		out = append(out, element{set: setGuard, key: string([]byte{unix.NFPROTO_IPV6})})
	}
	return out
}

// nameKey refuses names that the kernel would cut short: the cut name could be
// another interface's.
func nameKey(name string) (string, error) {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return "", model.Errorf(model.Invalid, "interface name %q: must have 1 to %d bytes", name, unix.IFNAMSIZ-1)
	}
	return string(ifname(name)), nil
}

func addrKey(a netip.Addr) string { return string(a.WithZone("").AsSlice()) }

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// index finds the table and set of an element by the set's name.
type index map[string]located

type located struct {
	table table
	set   set
}

func indexOf(tables []table) index {
	idx := index{}
	for _, t := range tables {
		if t.gone {
			continue
		}
		for _, s := range t.sets {
			idx[s.name] = located{t, s}
		}
	}
	return idx
}

// text prints an element as nft would name it.
func (idx index) text(e element) string {
	at := idx[e.set]
	return fmt.Sprintf("%s: set %s: %s", at.table, e.set, at.set.text(e))
}
