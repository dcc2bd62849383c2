package ops

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// askOutside returns a new network as somebody else says that it is: its driver, or who
// gives out its addresses. wished is the network as its user asked for it.
func askOutside(tx Tx, n, wished model.Network) (model.Network, error) {
	if !foreign(tx, n) {
		return n, nil
	}
	known := tx.Facts().Network(n.ID)
	if known.Empty() {
		if err := driver.CheckCommon(n); err != nil { // before anybody is troubled
			return n, err
		}
		if _, err := driver.DNSRoutes(n); err != nil {
			return n, err
		}
		return n, &facts.Missing{Question: facts.Question{Network: n, Wished: wished, Avoid: busySubnets(tx)}}
	}
	if known.Scope != "" {
		n.Scope = known.Scope
	}
	n.IPAM.Pools = known.Pools
	return n, nil
}

// busySubnets are what the host reaches already: a subnet that is chosen must not overlap
// it.
func busySubnets(tx Tx) []netip.Prefix {
	out := append([]netip.Prefix(nil), tx.Facts().Host.OnLink...)
	for _, a := range tx.Facts().Host.Resolvers {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// poolHolders returns the networks whose subnets are in use, or asked for, other than id.
func poolHolders(tx Tx, id model.NetworkID) []model.Network {
	var out []model.Network
	for other := range tx.View().Networks() {
		if !other.ConfigOnly && other.ID != id {
			out = append(out, other)
		}
	}
	for _, q := range tx.Facts().Asked {
		if q.Endpoint.ID == "" && q.Network.ID != id {
			out = append(out, q.Network)
		}
	}
	return out
}
