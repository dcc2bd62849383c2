// Package leases is where addresses of DHCP servers come into the model: it asks for them
// when an endpoint comes up, has them given back when it goes down, and notes what the
// servers say in between.
//
//	engine ── Ask, Return ──▶ Source ──▶ keeper, which holds the leases
//	engine ◀── Learn, Do ──── Follow ◀── WatchLeases
//
// It must not know how servers are spoken with; that goes on while there is no daemon.
package leases

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Keeper holds leases.
type Keeper interface {
	AskLease(ctx context.Context, r facts.LeaseRequest) (model.Lease, error)
	ReturnLease(ctx context.Context, id model.EndpointID) error
	// WatchLeases returns what is held once that is not what it was at the revision seen;
	// at once for 0.
	WatchLeases(ctx context.Context, seen uint64) (uint64, []facts.HeldLease, error)
}

// Source answers what an endpoint has on a network with a DHCP server; see engine.Source.
type Source struct {
	Keeper  Keeper
	Drivers driver.Set
}

// Ask implements engine.Source. Both families are asked for at once, and an endpoint has all
// or nothing.
func (s Source) Ask(ctx context.Context, q facts.Question) (facts.Fact, error) {
	r, err := s.request(q.Network, q.Endpoint, q.Sandbox)
	if err != nil {
		return nil, err
	}
	given := make([]model.Lease, len(q.Families))
	var work errgroup.Group
	for i, f := range q.Families {
		work.Go(func() (err error) {
			given[i], err = s.Keeper.AskLease(ctx, inFamily(r, q.Endpoint, f))
			return err
		})
	}
	if err := work.Wait(); err != nil {
		if len(q.Families) > 1 { // one may have been given
			back, cancel := context.WithTimeout(context.WithoutCancel(ctx), returnTime)
			defer cancel()
			err = errors.Join(err, s.Keeper.ReturnLease(back, q.Endpoint.ID))
		}
		return nil, err
	}
	e := facts.Endpoint{ID: q.Endpoint.ID}
	for i, f := range q.Families {
		e = e.WithLease(f, &given[i])
	}
	return e, nil
}

// returnTime bounds the giving back of what is half of an answer.
const returnTime = 5 * time.Second

// Return implements engine.Source. What stays known of the endpoint is the lease as it is
// now.
func (s Source) Return(ctx context.Context, f, kept facts.Fact) error {
	e, ok := f.(facts.Endpoint)
	if !ok || e.Lease4 == nil && e.Lease6 == nil || kept != nil {
		return nil
	}
	return s.Keeper.ReturnLease(ctx, e.ID)
}

// Answers implements engine.Source.
func (s Source) Answers(ctx context.Context) ([]facts.Fact, error) {
	_, held, err := s.Keeper.WatchLeases(ctx, 0)
	var out []facts.Fact
	for _, h := range held {
		e := facts.Endpoint{ID: h.Request.Endpoint}
		if last := len(out) - 1; last >= 0 && out[last].Owner() == e.Owner() { // the other family's
			e, out = out[last].(facts.Endpoint), out[:last]
		}
		out = append(out, e.WithLease(h.Request.Family(), &h.Lease))
	}
	return out, err
}

// request says for whom a server is asked, whatever the family.
func (s Source) request(n model.Network, e model.Endpoint, sb model.Sandbox) (facts.LeaseRequest, error) {
	device, err := s.Drivers.LeaseDevice(n)
	if err != nil {
		return facts.LeaseRequest{}, err
	}
	r := facts.LeaseRequest{Endpoint: e.ID, Device: device, MAC: e.MAC, Hostname: sb.Hostname}
	r.ClientID, err = clientID(e)
	return r, err
}

// inFamily returns a request for an address of family f.
func inFamily(r facts.LeaseRequest, e model.Endpoint, f model.Family) facts.LeaseRequest {
	if f == model.IPv4 {
		r.Want, r.Must = e.Wished4()
		return r
	}
	r.IPv6, r.Want = true, e.Addr6
	return r
}

// clientID returns what a server knows an endpoint by (option 61). With a MAC address that
// the user chose it is that, as of any other machine, so that what a server has reserved
// for it is found by a container that is made anew. Otherwise it follows from the endpoint:
// several may have one MAC address. Its form is that of RFC 4361, with a UUID (RFC 6355).
func clientID(e model.Endpoint) ([]byte, error) {
	if e.StaticMAC {
		mac, err := net.ParseMAC(e.MAC)
		return append([]byte{1}, mac...), err
	}
	sum := sha256.Sum256([]byte("dhcp\x00" + string(e.ID)))
	raw, err := hex.DecodeString(fmt.Sprintf("ff%x0004%x", sum[:4], sum[4:20]))
	return raw, err
}
