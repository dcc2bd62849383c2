package netplugin

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/linkspan/linkspan/conformance/report"
)

// space asks for the address space of networks of one host.
func (s *stage) space() (string, error) {
	var said struct{ LocalDefaultAddressSpace string }
	err := s.do(ipam+"GetDefaultAddressSpaces", nil, &said)
	return said.LocalDefaultAddressSpace, err
}

// pool asks for a pool that is released after the case.
func (s *stage) pool(q requestPool) (got poolAnswer, err error) {
	if q.AddressSpace, err = s.space(); err != nil {
		return got, err
	}
	q.Options = map[string]string{}
	if err = s.do(ipam+"RequestPool", q, &got); err == nil {
		s.undo = append(s.undo, func() { s.call(ipam+"ReleasePool", one("PoolID", got.PoolID)) }) //nolint:errcheck // the case has told
	}
	return got, err
}

// options are what comes with the request for an endpoint's address.
func options() map[string]string { return map[string]string{optionMAC: "02:42:ac:13:00:05"} }

// address asks for an address that is released after the case.
func (s *stage) address(pool, wanted string, options map[string]string) (netip.Prefix, error) {
	var got addressAnswer
	if err := s.do(ipam+"RequestAddress", poolCall{pool, wanted, options}, &got); err != nil {
		return netip.Prefix{}, err
	}
	p, err := netip.ParsePrefix(got.Address)
	if err != nil {
		return p, fmt.Errorf("Address %q is no address in CIDR form", got.Address)
	}
	s.undo = append(s.undo, func() { s.call(ipam+"ReleaseAddress", poolCall{PoolID: pool, Address: p.Addr().String()}) }) //nolint:errcheck // the case has told
	return p, nil
}

// sameSubnet tells whether a plugin gave what was asked for.
func sameSubnet(got poolAnswer, want string) error {
	wanted, err := netip.ParsePrefix(want)
	if err != nil {
		return err
	}
	p, err := netip.ParsePrefix(got.Pool)
	if err != nil || p.Masked() != wanted.Masked() || got.PoolID == "" {
		return fmt.Errorf("PoolID is %q, Pool %q", got.PoolID, got.Pool)
	}
	return nil
}

// poolCases are about subnets.
func poolCases() []Case {
	const (
		chosen = "A pool that is not named is the driver's choice, of the family that V6 says, and has an ID."
		named  = "A pool that is named is given as it is, or refused."
	)
	choice := func(six bool) func(*stage) error {
		return func(s *stage) error {
			got, err := s.pool(requestPool{V6: six})
			if err != nil {
				return err
			}
			if got.PoolID == "" {
				return errors.New("PoolID is empty")
			}
			_, err = cidr("Pool", got.Pool, six)
			return err
		}
	}
	return []Case{
		{Name: "pool/chosen", Level: report.Must, Spec: chosen, role: IPAMRole, play: choice(false)},
		{Name: "pool/chosen-ipv6", Level: report.Must, Spec: chosen, role: IPAMRole, six: true, play: choice(true)},
		{Name: "pool/named", Level: report.Must, Spec: named, role: IPAMRole, play: func(s *stage) error {
			got, err := s.pool(requestPool{Pool: s.p.Pool4})
			if err != nil {
				return err
			}
			return sameSubnet(got, s.p.Pool4)
		}},
		{Name: "pool/named-ipv6", Level: report.Must, Spec: named, role: IPAMRole, six: true, play: func(s *stage) error {
			got, err := s.pool(requestPool{Pool: s.p.Pool6, V6: true})
			if err != nil {
				return err
			}
			return sameSubnet(got, s.p.Pool6)
		}},
	}
}

// poolRefusals are about what is no pool, and about pools that were given before.
func poolRefusals() []Case {
	return []Case{
		{Name: "pool/part-of-nothing", Level: report.Should, Spec: "A part without its pool is refused.", role: IPAMRole, play: func(s *stage) error {
			space, err := s.space()
			if err != nil {
				return err
			}
			return s.refused(ipam+"RequestPool", requestPool{AddressSpace: space, SubPool: s.p.Pool4})
		}},
		{Name: "pool/no-subnet", Level: report.Must, Spec: "What is no subnet is refused.", role: IPAMRole, play: func(s *stage) error {
			space, err := s.space()
			if err != nil {
				return err
			}
			return both(s.refused(ipam+"RequestPool", requestPool{AddressSpace: space, Pool: "10.0.0.0/99"}), s.lives)
		}},
		{Name: "pool/same-id", Level: report.Should, Spec: "The same pool has the same ID: the driver counts who has it.", role: IPAMRole, play: func(s *stage) error {
			first, err := s.pool(requestPool{Pool: s.p.Pool4})
			if err != nil {
				return err
			}
			second, err := s.pool(requestPool{Pool: s.p.Pool4})
			if err == nil && first.PoolID != second.PoolID {
				err = fmt.Errorf("PoolID is %q, then %q", first.PoolID, second.PoolID)
			}
			return err
		}},
		{Name: "pool/release-unknown", Level: report.Should, Spec: neverGiven, role: IPAMRole, play: func(s *stage) error {
			return both(s.refused(ipam+"ReleasePool", one("PoolID", "conform-none")), s.lives)
		}},
		{Name: "pool/again", Level: report.Must, Spec: "What was released can be given again.", role: IPAMRole, play: func(s *stage) error {
			for range 3 {
				got, err := s.pool(requestPool{Pool: s.p.Pool4})
				s.undo = nil
				if err == nil {
					err = s.do(ipam+"ReleasePool", one("PoolID", got.PoolID), nil)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}},
	}
}

// onPool plays with a pool of IPv4.
func onPool(play func(s *stage, id string, subnet netip.Prefix) error) func(*stage) error {
	return func(s *stage) error {
		got, err := s.pool(requestPool{Pool: s.p.Pool4})
		if err != nil {
			return err
		}
		subnet, err := netip.ParsePrefix(got.Pool)
		if err != nil {
			return err
		}
		return play(s, got.PoolID, subnet)
	}
}

// addressCases are about addresses.
func addressCases() []Case {
	const (
		given = "An address that is not named is any free one of the pool, with the pool's length."
		named = "An address that is named is given as it is, or refused."
	)
	return []Case{
		{Name: "address/chosen", Level: report.Must, Spec: given, role: IPAMRole, play: onPool(func(s *stage, id string, subnet netip.Prefix) error {
			a, err := s.address(id, "", options())
			if err == nil && (!subnet.Contains(a.Addr()) || a.Bits() != subnet.Bits()) {
				err = fmt.Errorf("%s is not of %s", a, subnet)
			}
			return err
		})},
		{Name: "address/distinct", Level: report.Must, Spec: given, role: IPAMRole, play: onPool(eightAddresses)},
		{Name: "address/named", Level: report.Must, Spec: named, role: IPAMRole, play: onPool(func(s *stage, id string, subnet netip.Prefix) error {
			want := netip.MustParsePrefix(host(s.p.Pool4, 20))
			a, err := s.address(id, want.Addr().String(), options())
			if err == nil && a.Addr() != want.Addr() {
				err = fmt.Errorf("%s was asked for, and %s is given", want.Addr(), a)
			}
			return err
		})},
		{Name: "address/taken", Level: report.Must, Spec: "An address is given once until it is released.", role: IPAMRole, play: onPool(func(s *stage, id string, _ netip.Prefix) error {
			a, err := s.address(id, "", options())
			if err != nil {
				return err
			}
			return s.refused(ipam+"RequestAddress", poolCall{id, a.Addr().String(), options()})
		})},
		{Name: "address/gateway", Level: report.Must, Spec: "A gateway's address is asked for with the option RequestAddressType.", role: IPAMRole, play: onPool(func(s *stage, id string, subnet netip.Prefix) error {
			a, err := s.address(id, "", map[string]string{optionAddressType: optionGateway})
			if err == nil && !subnet.Contains(a.Addr()) {
				err = fmt.Errorf("%s is not of %s", a, subnet)
			}
			return err
		})},
		{Name: "address/outside", Level: report.Must, Spec: named, role: IPAMRole, play: onPool(func(s *stage, id string, _ netip.Prefix) error {
			return s.refused(ipam+"RequestAddress", poolCall{id, "192.0.2.1", options()})
		})},
		{Name: "address/no-address", Level: report.Must, Spec: "What is no address is refused.", role: IPAMRole, play: onPool(func(s *stage, id string, _ netip.Prefix) error {
			return both(s.refused(ipam+"RequestAddress", poolCall{id, "yesterday", options()}), s.lives)
		})},
		{Name: "address/unknown-pool", Level: report.Must, Spec: notThere, role: IPAMRole, play: func(s *stage) error {
			return both(s.refused(ipam+"RequestAddress", poolCall{PoolID: "conform-none", Options: options()}), s.lives)
		}},
		{Name: "address/release", Level: report.Must, Spec: "What was released can be given again.", role: IPAMRole, play: onPool(func(s *stage, id string, _ netip.Prefix) error {
			want := netip.MustParsePrefix(host(s.p.Pool4, 20)).Addr().String()
			for range 3 {
				if err := s.do(ipam+"RequestAddress", poolCall{id, want, options()}, nil); err != nil {
					return err
				}
				if err := s.do(ipam+"ReleaseAddress", poolCall{PoolID: id, Address: want}, nil); err != nil {
					return err
				}
			}
			return nil
		})},
	}
}

// eightAddresses asks for addresses at the same time: no two are the same.
func eightAddresses(s *stage, id string, subnet netip.Prefix) error {
	var work sync.WaitGroup
	errs, got := make([]error, 8), make([]addressAnswer, 8)
	for i := range got {
		work.Go(func() { errs[i] = s.do(ipam+"RequestAddress", poolCall{PoolID: id, Options: options()}, &got[i]) })
	}
	work.Wait()
	err := errors.Join(errs...)
	seen := map[netip.Addr]bool{}
	for _, a := range got {
		p, bad := netip.ParsePrefix(a.Address)
		if bad != nil {
			err = errors.Join(err, bad)
			continue
		}
		if seen[p.Addr()] || !subnet.Contains(p.Addr()) {
			err = errors.Join(err, fmt.Errorf("%s is given twice, or not of %s", p, subnet))
		}
		seen[p.Addr()] = true
		s.undo = append(s.undo, func() { s.call(ipam+"ReleaseAddress", poolCall{PoolID: id, Address: p.Addr().String()}) }) //nolint:errcheck // the case has told
	}
	return err
}
