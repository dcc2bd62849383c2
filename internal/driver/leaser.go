package driver

import "github.com/linkspan/linkspan/internal/model"

// Leaser is a Driver on some of whose networks a DHCP server is heard.
type Leaser interface {
	// LeaseDevice returns the interface of the host behind which the server is, and why
	// there is none on n.
	LeaseDevice(n model.Network) (string, error)
}

// LeaseDevice returns the interface of the host behind which a network's DHCP server is.
// Errors are Invalid.
func (s Set) LeaseDevice(n model.Network) (string, error) {
	d, err := s.Find(n.Driver)
	if err != nil {
		return "", err
	}
	l, ok := d.(Leaser)
	if !ok {
		return "", model.Errorf(model.Invalid, "the IPAM driver %s cannot give addresses on %s networks", model.IPAMDHCP, n.Driver)
	}
	return l.LeaseDevice(n)
}

// NoLeases is why no DHCP server is heard on a network.
func NoLeases(why, way string) error {
	return &model.Error{Op: "network.create", Kind: model.Invalid,
		Err: model.Errorf(model.Invalid, "no DHCP server is heard on this network"), Who: why, Way: way}
}

// CheckLeased refuses what a network with a DHCP server cannot have.
func CheckLeased(n model.Network, d Driver) error {
	if len(n.IPAM.Pools) > 0 {
		return &model.Error{Op: "network.create", Kind: model.Invalid,
			Err: model.Errorf(model.Invalid, "the IPAM driver %s takes no subnets, gateways and ranges", model.IPAMDHCP),
			Who: "those are what the server gives", Way: "leave them out, or let Linkspan give out addresses: --ipam-driver default"}
	}
	l, ok := d.(Leaser)
	if !ok {
		return &model.Error{Op: "network.create", Kind: model.Invalid,
			Err: model.Errorf(model.Invalid, "the IPAM driver %s cannot give addresses on %s networks", model.IPAMDHCP, n.Driver),
			Who: "it is for networks on the host's own interfaces, where a DHCP server is"}
	}
	_, err := l.LeaseDevice(n)
	return err
}
