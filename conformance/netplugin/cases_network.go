package netplugin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/linkspan/linkspan/conformance/report"
)

// network is a network that can be made, of the subnets that are not empty.
func (s *stage) network(four, six string) createNetwork {
	generic := object{}
	for key, value := range s.p.Options {
		generic.put(key, value)
	}
	q := createNetwork{NetworkID: s.id(), Options: one("com.docker.network.enable_ipv6", six != "").put("com.docker.network.generic", generic), IPv4Data: []poolData{}, IPv6Data: []poolData{}}
	data := func(pool string) []poolData {
		if pool == "" {
			return []poolData{}
		}
		return []poolData{{AddressSpace: "conform", Pool: pool, Gateway: host(pool, 1)}}
	}
	q.IPv4Data, q.IPv6Data = data(four), data(six)
	return q
}

// host is the n-th address of a subnet, with its length.
func host(pool string, n int) string {
	p, err := netip.ParsePrefix(pool)
	if err != nil {
		return ""
	}
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return netip.PrefixFrom(a, p.Bits()).String()
}

// makes makes a network that is deleted after the case.
func (s *stage) makes(id string, q any) error {
	err := s.do(network+"CreateNetwork", q, nil)
	if err == nil {
		s.undo = append(s.undo, func() { s.call(network+"DeleteNetwork", one("NetworkID", id)) }) //nolint:errcheck // the case has told
	}
	return err
}

// made is a network of IPv4.
func (s *stage) made() (createNetwork, error) {
	q := s.network(s.p.Pool4, "")
	return q, s.makes(q.NetworkID, q)
}

// networkCases are about networks.
func networkCases() []Case {
	const (
		once    = "A network is made once: a second one of its ID is refused."
		unknown = "What is not there cannot be deleted."
		undone  = "What was deleted can be made again."
		nodes   = "A driver is told of nodes that join and leave, and that is no error."
	)
	return []Case{
		{Name: "network/create", Level: report.Must, Spec: "A network is made of the subnets that are handed over.", role: NetworkRole, play: func(s *stage) error {
			_, err := s.made()
			return err
		}},
		{Name: "network/create-ipv6", Level: report.Must, Spec: "A network is made of the subnets that are handed over.", role: NetworkRole, six: true, play: func(s *stage) error {
			q := s.network(s.p.Pool4, s.p.Pool6)
			return s.makes(q.NetworkID, q)
		}},
		{Name: "network/twice", Level: report.Should, Spec: once, role: NetworkRole, play: func(s *stage) error {
			q, err := s.made()
			if err != nil {
				return err
			}
			return s.refused(network+"CreateNetwork", q)
		}},
		{Name: "network/delete-unknown", Level: report.Should, Spec: unknown, role: NetworkRole, play: func(s *stage) error {
			return both(s.refused(network+"DeleteNetwork", one("NetworkID", s.id())), s.lives)
		}},
		{Name: "network/delete-twice", Level: report.Should, Spec: unknown, role: NetworkRole, play: func(s *stage) error {
			q, err := s.made()
			if err != nil {
				return err
			}
			gone := one("NetworkID", q.NetworkID)
			if err := s.do(network+"DeleteNetwork", gone, nil); err != nil {
				return err
			}
			return s.refused(network+"DeleteNetwork", gone)
		}},
		{Name: "network/again", Level: report.Must, Spec: undone, role: NetworkRole, play: func(s *stage) error {
			q := s.network(s.p.Pool4, "")
			for range 3 {
				if err := s.do(network+"CreateNetwork", q, nil); err != nil {
					return err
				}
				if err := s.do(network+"DeleteNetwork", one("NetworkID", q.NetworkID), nil); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "network/bad-subnet", Level: report.Should, Spec: "What cannot be read is refused, and changes nothing.", role: NetworkRole, play: func(s *stage) error {
			q := s.network(s.p.Pool4, "")
			q.IPv4Data[0].Pool, q.IPv4Data[0].Gateway = "10.0.0.0/99", "yesterday"
			err := s.refused(network+"CreateNetwork", q)
			s.call(network+"DeleteNetwork", one("NetworkID", q.NetworkID)) //nolint:errcheck // it need not be there
			return both(err, s.lives)
		}},
		{Name: "network/no-id", Level: report.Should, Spec: "A network has an ID.", role: NetworkRole, play: func(s *stage) error {
			q := s.network(s.p.Pool4, "")
			q.NetworkID = ""
			return both(s.refused(network+"CreateNetwork", q), s.lives)
		}},
		{Name: "discover/new", Level: report.Should, Spec: nodes, role: NetworkRole, play: func(s *stage) error {
			node := one("DiscoveryType", 1).put("DiscoveryData", one("Address", "192.0.2.7").put("BindAddress", "").put("Self", false))
			err := s.do(network+"DiscoverNew", node, nil)
			return errors.Join(err, s.do(network+"DiscoverDelete", node, nil))
		}},
	}
}

// endpoint is an endpoint that can be made, with the n-th address.
func (s *stage) endpoint(q createNetwork, n int) createEndpoint {
	return createEndpoint{NetworkID: q.NetworkID, EndpointID: s.id(), Options: object{}, Interface: &networkInterface{Address: host(s.p.Pool4, n), MacAddress: fmt.Sprintf("02:42:ac:13:00:%02x", n)}}
}

func (e createEndpoint) at() object {
	return one("NetworkID", e.NetworkID).put("EndpointID", e.EndpointID)
}

// puts makes an endpoint that is deleted after the case.
func (s *stage) puts(e createEndpoint) (got networkInterface, err error) {
	var said struct{ Interface *networkInterface }
	err = s.do(network+"CreateEndpoint", e, &said)
	if err == nil {
		s.undo = append(s.undo, func() { s.call(network+"DeleteEndpoint", e.at()) }) //nolint:errcheck // the case has told
	}
	if said.Interface != nil {
		got = *said.Interface
	}
	return got, err
}

// put is an endpoint on a network of its own.
func (s *stage) put() (createEndpoint, networkInterface, error) {
	q, err := s.made()
	if err != nil {
		return createEndpoint{}, networkInterface{}, err
	}
	e := s.endpoint(q, 5)
	got, err := s.puts(e)
	return e, got, err
}

// endpointCases are about endpoints before they join.
func endpointCases() []Case {
	const (
		kept = "What an endpoint has already the driver leaves alone: its answer has no address of a family, and no MAC address, that it was told."
	)
	return []Case{
		{Name: "endpoint/create", Level: report.Must, Spec: "An endpoint is made on a network that is there.", role: NetworkRole, play: func(s *stage) error {
			_, _, err := s.put()
			return err
		}},
		{Name: "endpoint/interface-kept", Level: report.Must, Spec: kept, role: NetworkRole, play: func(s *stage) error {
			_, got, err := s.put()
			if err == nil && (got.Address != "" || got.MacAddress != "") {
				err = fmt.Errorf("Interface is %+v", got)
			}
			return err
		}},
		{Name: "endpoint/mac-chosen", Level: report.Must, Spec: "A MAC address that the driver chooses is six bytes, and no group's.", role: NetworkRole, play: func(s *stage) error {
			q, err := s.made()
			if err != nil {
				return err
			}
			e := s.endpoint(q, 5)
			e.Interface.MacAddress = ""
			got, err := s.puts(e)
			if err != nil || got.MacAddress == "" {
				return err
			}
			if mac, bad := net.ParseMAC(got.MacAddress); bad != nil || len(mac) != 6 || mac[0]&1 != 0 {
				err = fmt.Errorf("MacAddress is %q", got.MacAddress)
			}
			return err
		}},
		{Name: "endpoint/twice", Level: report.Should, Spec: "An endpoint is made once.", role: NetworkRole, play: func(s *stage) error {
			e, _, err := s.put()
			if err != nil {
				return err
			}
			return s.refused(network+"CreateEndpoint", e)
		}},
		{Name: "endpoint/unknown-network", Level: report.Must, Spec: notThere, role: NetworkRole, play: func(s *stage) error {
			return both(s.refused(network+"CreateEndpoint", s.endpoint(createNetwork{NetworkID: s.id()}, 5)), s.lives)
		}},
	}
}

// endpointEnds are about endpoints that go, and several.
func endpointEnds() []Case {
	return []Case{
		{Name: "endpoint/delete-unknown", Level: report.Should, Spec: notThere, role: NetworkRole, play: func(s *stage) error {
			q, err := s.made()
			if err != nil {
				return err
			}
			return both(s.refused(network+"DeleteEndpoint", s.endpoint(q, 5).at()), s.lives)
		}},
		{Name: "endpoint/again", Level: report.Must, Spec: "What was deleted can be made again.", role: NetworkRole, play: func(s *stage) error {
			q, err := s.made()
			e := s.endpoint(q, 5)
			for range 3 {
				if err == nil {
					err = s.do(network+"CreateEndpoint", e, nil)
				}
				if err == nil {
					err = s.do(network+"DeleteEndpoint", e.at(), nil)
				}
			}
			return err
		}},
		{Name: "endpoint/info", Level: report.Must, Spec: infoIsObject, role: NetworkRole, play: func(s *stage) error {
			e, _, err := s.put()
			if err != nil {
				return err
			}
			var said struct{ Value object }
			return s.do(network+"EndpointOperInfo", e.at(), &said)
		}},
		{Name: "endpoint/info-unknown", Level: report.Should, Spec: notThere, role: NetworkRole, play: func(s *stage) error {
			return both(s.refused(network+"EndpointOperInfo", s.endpoint(createNetwork{NetworkID: s.id()}, 5).at()), s.lives)
		}},
		{Name: "endpoint/network-in-use", Level: report.Should, Spec: "A network with endpoints is not deleted.", role: NetworkRole, play: func(s *stage) error {
			e, _, err := s.put()
			if err != nil {
				return err
			}
			return s.refused(network+"DeleteNetwork", one("NetworkID", e.NetworkID))
		}},
		{Name: "endpoint/eight-at-once", Level: report.Must, Spec: "Calls about different endpoints come at the same time.", role: NetworkRole, play: eightEndpoints},
	}
}

// eightEndpoints makes endpoints at the same time, and then deletes them so.
func eightEndpoints(s *stage) error {
	q, err := s.made()
	if err != nil {
		return err
	}
	var all []createEndpoint
	for n := range 8 {
		all = append(all, s.endpoint(q, 5+n))
	}
	for _, method := range []string{"CreateEndpoint", "DeleteEndpoint"} {
		var work sync.WaitGroup
		errs := make([]error, len(all))
		for i, e := range all {
			work.Go(func() { errs[i] = s.do(network+method, e, nil) })
		}
		work.Wait()
		err = errors.Join(err, errors.Join(errs...))
	}
	return err
}
