package ops

import (
	"fmt"
	"net/netip"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/model"
)

// foreign tells whether somebody else says what endpoints of a network have: the network's
// driver, or who gives out its addresses.
func foreign(tx Tx, n model.Network) bool { return tx.Drivers.Foreign(n) || foreignIPAM(n) }

// foreignIPAM tells whether a plugin gives out a network's addresses.
func foreignIPAM(n model.Network) bool {
	return !n.Leased() && n.IPAM.Driver != "" && n.IPAM.Driver != ipamDefault && n.IPAM.Driver != ipamNone
}

// attachOutside is attach on a network of somebody else. It asks for what the endpoint
// has, and takes that.
func attachOutside(tx Tx, n model.Network, sb model.Sandbox, e model.Endpoint) error {
	known := tx.Facts().Endpoint(e.ID)
	var families []model.Family
	var err error
	for _, f := range model.Families {
		switch {
		case !n.Enabled(f) || f == model.IPv6 && driver.IPv6Off(sb, e):
			e = e.WithAddress(f, netip.Addr{}, false)
			continue
		case !known.Empty() || foreignIPAM(n):
			if !e.Static(f) {
				e = e.WithAddress(f, netip.Addr{}, false)
			}
		default:
			if e, err = address(tx, n, e, f); err != nil {
				return err
			}
		}
		families = append(families, f)
	}
	if !e.StaticMAC {
		e.MAC = ""
	}
	if known.Empty() {
		return &facts.Missing{Question: facts.Question{Network: n, Endpoint: e, Sandbox: sb, Families: families}}
	}
	if e, err = said(tx, n, e, known); err != nil {
		return err
	}
	if e.MAC, err = hardwareAddress(tx, n, e); err != nil {
		return err
	}
	if known.MAC != "" {
		e.MAC = known.MAC
	}
	if e.Interface, err = interfaceName(tx, n, e); err != nil {
		return err
	}
	tx.PutEndpoint(e)
	return nil
}

// said returns an endpoint with the addresses that it was given, and refuses what cannot
// be.
func said(tx Tx, n model.Network, e model.Endpoint, known facts.Endpoint) (model.Endpoint, error) {
	for _, f := range model.Families {
		given := known.Address(f)
		if !given.IsValid() {
			continue
		}
		if holder, held := holderOf(tx, n, e, given.Addr()); held {
			return e, &model.Error{Op: "endpoint.attach", Subject: "network " + n.Name, Kind: model.Forbidden,
				Err: fmt.Errorf("%s", addressInUse), Who: fmt.Sprintf("%s was given, and is held by %s", given.Addr(), holder)}
		}
		e = e.WithAddress(f, given.Addr(), e.Static(f))
		if !foreignIPAM(n) {
			tx.PutCursor(n.ID, given.Addr())
		}
	}
	if j := known.Joined; j != nil {
		for _, name := range []string{j.Link, j.Prefix} {
			if name != "" && !driver.ValidInterface(name) || len(j.Prefix) > maxPrefix {
				return e, model.Errorf(model.Unfit, "driver %s answered with an interface's name that is none: %.32q", n.Driver, name)
			}
		}
	}
	return e, nil
}

// maxPrefix leaves room for a number behind what interfaces' names begin with.
const maxPrefix = 12

// asked tells whether another op has asked for an address that has no answer yet.
func asked(tx Tx, n model.Network, e model.EndpointID, a netip.Addr) bool {
	for _, q := range tx.Facts().Asked {
		if q.Endpoint.ID != "" && q.Endpoint.ID != e && q.Network.ID == n.ID && q.Endpoint.Address(model.FamilyOf(a)) == a {
			return true
		}
	}
	return false
}

// outward has the drivers outside, of all endpoints of a sandbox that is up, know whether
// it leaves by them. lenient has what they answer noted only.
func outward(tx Tx, id model.SandboxID, lenient bool) error {
	members := gateway.Members(tx.View(), tx.Facts(), id)
	four, _, has4 := gateway.Of(members, model.IPv4)
	six, _, has6 := gateway.Of(members, model.IPv6)
	for _, m := range members {
		j := m.Learned.Joined
		if j == nil {
			continue
		}
		is4, is6 := has4 && four.Endpoint.ID == m.Endpoint.ID, has6 && six.Endpoint.ID == m.Endpoint.ID
		want := facts.Outward{Gateway4: is4, Gateway6: is6, Gateway6Elsewhere: is4 && has6 && !is6}
		if want == j.Outward {
			continue
		}
		sb, _ := tx.View().Sandbox(id)
		return &facts.Missing{Question: facts.Question{Network: m.Network, Endpoint: m.Endpoint, Sandbox: sb, Outward: &want, Lenient: lenient}}
	}
	return nil
}
