package explain

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/iptables"
	"github.com/linkspan/linkspan/internal/kernel/nft"
	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// known is what policy rows tell: who is where, and what elements of our sets are for.
type known struct {
	ports    []desired.PortSecurity
	bridges  map[string]bool
	elements map[[2]string]string // keys of rows, by set and key there
	places   map[iptables.Place][]string
}

func newKnown(rows []desired.Row) known {
	k := known{bridges: map[string]bool{}, elements: map[[2]string]string{}, places: map[iptables.Place][]string{}}
	for _, row := range rows {
		switch r := row.(type) {
		case desired.PortSecurity:
			k.ports = append(k.ports, r)
		case desired.BridgePolicy:
			k.bridges[r.Bridge] = true
		}
		for _, at := range nft.Elements(row) {
			k.elements[at] = row.Key().Name
		}
		for _, at := range iptables.Places(row) {
			k.places[at] = append(k.places[at], row.Key().Name)
		}
	}
	return k
}

// port is that of the container which has an address; ok is false if none has.
func (k known) port(a netip.Addr) (desired.PortSecurity, bool) {
	i := slices.IndexFunc(k.ports, func(p desired.PortSecurity) bool { return slices.Contains(p.Addrs, a) })
	if i < 0 || a.IsLinkLocalUnicast() {
		return desired.PortSecurity{}, false
	}
	return k.ports[i], true
}

// table is the name of the engine's own tables.
const table = "linkspan"

// rows are those that a rule is there for, as far as its elements tell.
func (k known) rows(v trace.Visit) (out []string) {
	if v.Table.Name != table && !strings.HasPrefix(v.Table.Name, nft.HeldPrefix) {
		return nil
	}
	for _, f := range v.Sets {
		if row, ok := k.elements[[2]string{f.Set.Name, f.Element.Key}]; ok && !slices.Contains(out, row) {
			out = append(out, row)
		}
	}
	return out
}

// ours tells whether a rule is the engine's: of its tables, its chains in tables of
// iptables, or a jump there.
func ours(v trace.Visit) bool {
	return v.Table.Name == table || strings.HasPrefix(v.Table.Name, nft.HeldPrefix) || trace.OursByName(v.Chain.Name, v.Verdict)
}
