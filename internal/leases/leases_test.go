package leases

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// lan is a keeper on whose link there are addresses of some families.
type lan struct {
	gives []model.Family

	mu       sync.Mutex
	asked    []facts.LeaseRequest
	returned []model.EndpointID
}

func (l *lan) AskLease(_ context.Context, r facts.LeaseRequest) (model.Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, r)
	switch {
	case !slices.Contains(l.gives, r.Family()):
		return model.Lease{}, errors.New("nobody answers")
	case r.IPv6:
		return model.Lease{Prefix: netip.MustParsePrefix("2001:db8::7/64"), Gateway: netip.MustParseAddr("fe80::1")}, nil
	}
	return lease("198.51.100.20/24"), nil
}

func (l *lan) ReturnLease(_ context.Context, id model.EndpointID) error {
	l.returned = append(l.returned, id)
	return nil
}

func (l *lan) WatchLeases(context.Context, uint64) (uint64, []facts.HeldLease, error) {
	var held []facts.HeldLease
	for _, r := range l.asked {
		held = append(held, facts.HeldLease{Request: r, Lease: model.Lease{Prefix: netip.PrefixFrom(map[bool]netip.Addr{
			false: netip.MustParseAddr("198.51.100.20"), true: netip.MustParseAddr("2001:db8::7"),
		}[r.IPv6], 24)}})
	}
	return 1, held, nil
}

// TestBothFamilies: an endpoint is given what it asks for in all families, or nothing; what
// is held of both is one fact.
func TestBothFamilies(t *testing.T) {
	q := facts.Question{
		Network:  model.Network{Driver: "macvlan", IPv4: true, IPv6: true, Options: map[string]string{"parent": "eth0"}},
		Endpoint: model.Endpoint{ID: "e1", MAC: "02:00:00:00:00:01", Addr4: netip.MustParseAddr("198.51.100.20"), Static4: true, Addr6: netip.MustParseAddr("2001:db8::7")},
		Sandbox:  model.Sandbox{Hostname: "web"}, Families: model.Families[:],
	}
	l := &lan{gives: model.Families[:]}
	s := Source{Keeper: l, Drivers: all.Drivers()}
	f, err := s.Ask(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	e := f.(facts.Endpoint)
	if e.Addr4.String() != "198.51.100.20/24" || e.Addr6.String() != "2001:db8::7/64" || e.Gateway6.String() != "fe80::1" || e.Lease4 == nil || e.Lease6 == nil {
		t.Errorf("it is given %+v", e)
	}
	for _, r := range l.asked {
		if r.Want != q.Endpoint.Address(r.Family()) || r.Must == r.IPv6 || r.Hostname != "web" || r.Device != "eth0" {
			t.Errorf("asked for %+v", r)
		}
	}
	known, err := s.Answers(t.Context())
	if err != nil || len(known) != 1 || !known[0].(facts.Endpoint).Addr4.IsValid() || !known[0].(facts.Endpoint).Addr6.IsValid() {
		t.Errorf("known of it: %+v, %v", known, err)
	}

	half := &lan{gives: []model.Family{model.IPv4}}
	_, err = Source{Keeper: half, Drivers: all.Drivers()}.Ask(t.Context(), q)
	if err == nil || !strings.Contains(err.Error(), "nobody answers") || !slices.Equal(half.returned, []model.EndpointID{"e1"}) {
		t.Errorf("of one family alone: %v, given back: %v", err, half.returned)
	}
}
