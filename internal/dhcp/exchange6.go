package dhcp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/linkspan/linkspan/internal/model"
)

// dialog6 is the exchange of messages for one endpoint in IPv6: with routers, which say how
// addresses are had on the link, and with servers if there are any.
//
//	router solicitation ─▶ advertisement ─ managed ─▶ solicit, advertise, request, reply (RFC 8415)
//	                            ╰───────── autonomous ─▶ an address of the prefix (RFC 4862)
//
// It answers for its own link-local address, since nobody else does yet.
type dialog6 struct {
	*dialog
	own  netip.Addr // link-local
	id   [8]byte    // of the interface
	duid dhcpv6.DUID
	iaid [4]byte
}

// routerAttempts is how often routers are asked (RFC 4861, section 10), within 7 seconds.
const routerAttempts = 3

func newDialog6(d *dialog) (*dialog6, error) {
	out := &dialog6{dialog: d, id: interfaceID(d.mac)}
	if d.request.MAC == "" { // it is the device's, and that of others
		out.id = [8]byte(sumOf("interface", d.request.ClientID))
		out.id[0] &^= 2 // not from a MAC address
	}
	out.own = join(netip.MustParsePrefix("fe80::/64"), out.id)
	raw := d.request.ClientID
	if len(raw) > 5 && raw[0] == 0xff { // RFC 4361: as it is in DHCPv6
		out.iaid, raw = [4]byte(raw[1:5]), raw[5:]
	} else {
		out.iaid = [4]byte(sumOf("association", raw))
		raw = append([]byte{0, byte(dhcpv6.DUID_LL), 0, 1}, d.mac...)
	}
	var err error
	out.duid, err = dhcpv6.DUIDFromBytes(raw)
	return out, err
}

func sumOf(what string, of []byte) []byte {
	sum := sha256.Sum256(append([]byte(what+"\x00"), of...))
	return sum[:8]
}

// acquire gets an address: from a server where a router says that there is one, or no router
// says anything; otherwise of a router's prefix.
func (d *dialog6) acquire(ctx context.Context) (given, error) {
	ra, heard, err := d.router(ctx, routerAttempts)
	if err != nil {
		return given{}, err
	}
	if heard && !ra.managed {
		return d.stateless(ra)
	}
	g, err := d.stateful(ctx, ra)
	if err != nil && heard && ctx.Err() == nil {
		if own, noPrefix := d.stateless(ra); noPrefix == nil {
			return own, nil
		}
	}
	return g, err
}

// router asks routers so many times, and returns what the first says.
func (d *dialog6) router(ctx context.Context, times int) (ra advertisement, heard bool, err error) {
	frame := solicitation(d.mac, d.own).pack()
	err = d.repeat(ctx, times, frame, func(p packet6) (done bool, err error) {
		said, err := parseAdvertisement(p)
		if err == nil {
			ra, heard = said, true
		}
		return heard, nil
	})
	return ra, heard, err
}

// repeat sends a frame, so many times, until one of the packets that come is what was waited
// for, or an error. That nobody answers is none.
func (d *dialog6) repeat(ctx context.Context, times int, frame []byte, take func(packet6) (done bool, err error)) error {
	for n := range times {
		if err := d.Send(frame); err != nil {
			return fmt.Errorf("ask on %s: %w", d.request.Device, err)
		}
		wait, cancel := context.WithTimeout(ctx, time.Duration(patience(n))*d.second)
		done, err := d.listen(wait, take)
		cancel()
		if done || err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	return nil
}

// listen gives packets to take until that is done, or ctx is, which is no error.
func (d *dialog6) listen(ctx context.Context, take func(packet6) (bool, error)) (done bool, err error) {
	for {
		frame, err := d.Receive(ctx)
		if ctx.Err() != nil {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		p, err := unpack6(frame)
		if err != nil {
			continue
		}
		if p.asksFor(d.own) {
			if err := d.Send(p.answer(d.mac, d.own).pack()); err != nil {
				return false, err
			}
			continue
		}
		if done, err := take(p); done || err != nil {
			return done, err
		}
	}
}

// stateless returns the address that a client has by a router's prefix.
func (d *dialog6) stateless(ra advertisement) (given, error) {
	now := d.now()
	for _, p := range ra.prefixes {
		if !p.autonomous || p.valid < shortest {
			continue
		}
		bits := 128
		if p.onLink {
			bits = p.prefix.Bits()
		}
		l := model.Lease{Prefix: netip.PrefixFrom(join(p.prefix, d.id), bits), Server: ra.router, Stateless: true, From: now}
		l.Renew, l.Rebind, l.Until = now.Add(p.valid/2), now.Add(p.valid), now.Add(p.valid)
		ra.describe(&l, now, d.MTU())
		return given{lease: l}, nil
	}
	return given{}, d.failed6(fmt.Sprintf("router %s on %s names no prefix of which hosts can make addresses", ra.router, d.request.Device))
}

// stateful gets an address from a server: solicit, advertise, request, reply (RFC 8415,
// section 18.2).
func (d *dialog6) stateful(ctx context.Context, ra advertisement) (given, error) {
	for range maxAttempts {
		offer, err := d.ask(ctx, repetitions, dhcpv6.MessageTypeSolicit, ra, nil)
		if err == nil {
			var g given
			if g, err = d.ask(ctx, repetitions, dhcpv6.MessageTypeRequest, ra, &offer.lease); err == nil {
				return g, nil
			}
		}
		if !errors.Is(err, errRefused) {
			return given{}, err
		}
	}
	return given{}, d.failed6(fmt.Sprintf("no DHCPv6 server on %s gives an address that can be used", d.request.Device))
}

// renew asks the server of a lease for more time, or with rebind any server; of an address of
// a router's prefix, the routers.
func (d *dialog6) renew(ctx context.Context, g given, rebind bool) (given, error) {
	ra, heard, err := d.router(ctx, 1)
	if err != nil {
		return given{}, err
	}
	var out given
	switch {
	case !g.lease.Stateless && rebind:
		out, err = d.ask(ctx, 1, dhcpv6.MessageTypeRebind, ra, &g.lease)
	case !g.lease.Stateless:
		out, err = d.ask(ctx, 1, dhcpv6.MessageTypeRenew, ra, &g.lease)
	case !heard:
		err = d.failed6("no router answers on " + d.request.Device)
	default:
		out, err = d.stateless(ra)
	}
	if err == nil && out.lease.Prefix.Addr() != g.lease.Prefix.Addr() {
		return given{}, fmt.Errorf("%s is now %s", g.lease.Prefix.Addr(), out.lease.Prefix.Addr())
	}
	if err == nil && !heard && g.lease.Gateway.IsValid() {
		out.lease.Gateway = g.lease.Gateway // a router that is silent for a moment
	}
	return out, err
}

// release gives an address back. What a server says to that is not waited for.
func (d *dialog6) release(g given) error {
	if g.lease.Stateless {
		return nil
	}
	m, err := d.message6(dhcpv6.MessageTypeRelease, &g.lease)
	if err != nil {
		return err
	}
	return d.Send(toServers(d.mac, d.own, m.ToBytes()).pack())
}

// message6 returns a message of that type; of has what it is about, if there is anything.
func (d *dialog6) message6(kind dhcpv6.MessageType, of *model.Lease) (*dhcpv6.Message, error) {
	association := &dhcpv6.OptIANA{IaId: d.iaid}
	more := []dhcpv6.Modifier{
		dhcpv6.WithClientID(d.duid), dhcpv6.WithOption(association), dhcpv6.WithOption(dhcpv6.OptElapsedTime(0)),
		dhcpv6.WithRequestedOptions(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList),
	}
	if d.request.Hostname != "" {
		const wanted = 1 // the server is to tell its DNS (RFC 4704, section 4.1)
		more = append(more, dhcpv6.WithFQDN(wanted, d.request.Hostname))
	}
	if of != nil {
		association.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: of.Prefix.Addr().AsSlice()})
	} else if d.request.Want.Is6() {
		association.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: d.request.Want.AsSlice()})
	}
	if of != nil && kind != dhcpv6.MessageTypeRebind {
		server, err := dhcpv6.DUIDFromBytes(of.ServerID)
		if err != nil {
			return nil, err
		}
		more = append(more, dhcpv6.WithServerID(server))
	}
	m, err := dhcpv6.NewMessage(more...)
	if err == nil {
		m.MessageType = kind
	}
	return m, err
}

// ask sends a message, and returns what the first answer gives that can be used.
func (d *dialog6) ask(ctx context.Context, times int, kind dhcpv6.MessageType, ra advertisement, of *model.Lease) (given, error) {
	m, err := d.message6(kind, of)
	if err != nil {
		return given{}, err
	}
	wanted := dhcpv6.MessageTypeReply
	if kind == dhcpv6.MessageTypeSolicit {
		wanted = dhcpv6.MessageTypeAdvertise
	}
	var out *given
	err = d.repeat(ctx, times, toServers(d.mac, d.own, m.ToBytes()).pack(), func(p packet6) (bool, error) {
		message, ok := p.message6()
		if !ok {
			return false, nil
		}
		r, err := parse6(message, m.TransactionID, d.duid, wanted)
		if err != nil || of != nil && kind != dhcpv6.MessageTypeRebind && !bytes.Equal(r.ServerID, of.ServerID) {
			return false, nil
		}
		l, err := r.lease(d.now(), d.iaid)
		switch {
		case errors.Is(err, errRefused):
			d.complain("server %s refuses: %v", p.from, err)
			if wanted == dhcpv6.MessageTypeAdvertise {
				return false, nil // another may have some
			}
			return false, errRefused
		case err != nil:
			d.complain("server %s gives %v", p.from, err)
			return false, nil
		}
		l.Server = p.from
		ra.describe(&l, d.now(), d.MTU())
		out = &given{lease: l, hop: slices.Clone(p.fromMAC)}
		return true, nil
	})
	switch {
	case err != nil:
		return given{}, err
	case out == nil:
		return given{}, d.failed6(fmt.Sprintf("no DHCPv6 server answers on %s: asked %d times", d.request.Device, times))
	}
	return *out, nil
}

// failed6 is the error of an exchange that came to nothing.
func (d *dialog6) failed6(text string) error {
	return &model.Error{Op: "dhcp.ask", Kind: model.Unfit, Err: errors.New(text), Who: strings.Join(d.complaints, "\n"),
		Way: "see whether a router advertises a prefix there (rdisc6), or a server has addresses left"}
}
