package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Line is a connection to the network of an interface, for one exchange.
type Line interface {
	// MAC is the interface's own, and MTU how large its packets may be, in bytes.
	MAC() net.HardwareAddr
	MTU() int
	// Send sends an Ethernet frame.
	Send(frame []byte) error
	// Receive returns the next frame to a DHCP client, or about ARP. It ends with ctx.
	Receive(ctx context.Context) ([]byte, error)
	Close() error
}

const (
	// maxAttempts is how often a client begins anew because a server said no, or has given
	// what cannot be used.
	maxAttempts = 3
	// conflictTime is how long somebody may take to say that he has an address. RFC 5227
	// has seconds; a container is not to wait for that long, and who answers at all on a
	// LAN does within milliseconds.
	conflictTime = 40 * time.Millisecond
	// maxComplaints bounds what is told of servers that were not believed.
	maxComplaints = 4
)

// patience returns how long an answer is waited for before the n-th repetition (RFC 2131,
// section 4.1), in units of a second: 15 in all.
func patience(n int) int { return 1 << n }

// repetitions is how often a message is sent.
const repetitions = 4

// dialog is the exchange of messages for one endpoint.
type dialog struct {
	Line
	request facts.LeaseRequest
	mac     net.HardwareAddr
	second  time.Duration // a second, but in tests
	now     func() time.Time
	// complaints are why what servers said was not taken.
	complaints []string
}

// given is a lease with what is needed to renew it.
type given struct {
	lease model.Lease
	hop   net.HardwareAddr // to whom what is for the server is sent
}

func newDialog(line Line, r facts.LeaseRequest, second time.Duration) (*dialog, error) {
	d := &dialog{Line: line, request: r, mac: line.MAC(), second: second, now: func() time.Time { return time.Now().UTC() }}
	if r.MAC != "" {
		mac, err := net.ParseMAC(r.MAC)
		if err != nil {
			return nil, err
		}
		d.mac = mac
	}
	return d, nil
}

// acquire gets a lease: discover, offer, request, acknowledgement (RFC 2131, section 3.1).
func (d *dialog) acquire(ctx context.Context) (given, error) {
	for range maxAttempts {
		g, err := d.attempt(ctx)
		if err == nil || !errors.Is(err, errAgain) {
			return g, err
		}
	}
	return given{}, d.failed(fmt.Sprintf("no DHCP server on %s gives an address that can be used", d.request.Device))
}

// errAgain says that it is worth to begin anew.
var errAgain = errors.New("begin anew")

func (d *dialog) attempt(ctx context.Context) (given, error) {
	offer, err := d.discover(ctx)
	if err != nil {
		return given{}, err
	}
	a := offer.lease.Prefix.Addr()
	ack, err := d.ask(ctx, toAll(d.mac), repetitions, func(r reply) bool { return r.server == offer.lease.Server },
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.lease.Server.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(a.AsSlice())))
	switch {
	case errors.Is(err, errRefused):
		return given{}, errAgain
	case err != nil:
		return given{}, err
	case ack.lease.Prefix.Addr() != a:
		d.complain("server %s offered %s and then gave %s", ack.lease.Server, a, ack.lease.Prefix.Addr())
		return given{}, errAgain
	}
	taken, err := d.holder(ctx, a)
	if err != nil {
		return given{}, err
	}
	if taken != nil {
		d.complain("server %s gave %s, which %s has already", ack.lease.Server, a, taken)
		d.decline(ack)
		if d.request.Must {
			return given{}, d.notGiven()
		}
		d.request.Want = netip.Addr{}
		return given{}, errAgain
	}
	return ack, nil
}

// discover asks all servers for an offer, and returns the first that can be used.
func (d *dialog) discover(ctx context.Context) (given, error) {
	more := []dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), dhcpv4.WithBroadcast(true)}
	if d.request.Want.Is4() {
		more = append(more, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(d.request.Want.AsSlice())))
	}
	if !d.request.Must {
		return d.ask(ctx, toAll(d.mac), repetitions, func(reply) bool { return true }, more...)
	}
	// Where a server offers another address, the others had as much time to offer this one.
	others := 0
	wanted := func(r reply) bool {
		offered, _ := netip.AddrFromSlice(r.YourIPAddr.To4())
		if offered != d.request.Want {
			others++
			d.complain("server %s offers %s", r.server, offered)
		}
		return offered == d.request.Want
	}
	g, err := d.ask(ctx, toAll(d.mac), 1, wanted, more...)
	if err != nil && others == 0 && ctx.Err() == nil {
		g, err = d.ask(ctx, toAll(d.mac), repetitions, wanted, more...)
	}
	if err != nil && others > 0 && ctx.Err() == nil {
		return given{}, d.notGiven()
	}
	return g, err
}

// notGiven is the error of a client whose user has asked for an address that no server gives.
func (d *dialog) notGiven() error {
	return &model.Error{Op: "dhcp.ask", Kind: model.Forbidden, Err: fmt.Errorf("requested address %s is not available", d.request.Want),
		Who: strings.Join(d.complaints, "\n"),
		Way: "ask for one that the server can give, or none, or have the server reserve it for the container's MAC address (--mac-address)"}
}

// renew asks the server of a lease for more time, or with rebind any server (RFC 2131,
// section 4.4.5). The message is sent once.
func (d *dialog) renew(ctx context.Context, g given, rebind bool) (given, error) {
	a := g.lease.Prefix.Addr()
	to := path{d.mac, g.hop, a, g.lease.Server}
	if rebind {
		to = toAll(d.mac)
		to.from = a
	}
	out, err := d.ask(ctx, to, 1, func(r reply) bool { return rebind || r.server == g.lease.Server },
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithClientIP(a.AsSlice()), dhcpv4.WithBroadcast(true))
	if err == nil && out.lease.Prefix.Addr() != a {
		return given{}, fmt.Errorf("server %s renewed %s as %s", out.lease.Server, a, out.lease.Prefix.Addr())
	}
	return out, err
}

// release gives a lease back. Nobody answers that.
func (d *dialog) release(g given) error {
	m, err := d.message(dhcpv4.WithMessageType(dhcpv4.MessageTypeRelease), dhcpv4.WithClientIP(g.lease.Prefix.Addr().AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(g.lease.Server.AsSlice())))
	if err != nil {
		return err
	}
	return d.Send(path{d.mac, g.hop, g.lease.Prefix.Addr(), g.lease.Server}.pack(m.ToBytes()))
}

// decline tells a server that somebody has an address already. Nobody answers that.
func (d *dialog) decline(g given) {
	m, err := d.message(dhcpv4.WithMessageType(dhcpv4.MessageTypeDecline),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(g.lease.Server.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(g.lease.Prefix.Addr().AsSlice())))
	if err == nil {
		err = d.Send(toAll(d.mac).pack(m.ToBytes()))
	}
	if err != nil {
		d.complain("it could not be told: %v", err)
	}
}

// message returns one with all that the client says every time.
func (d *dialog) message(more ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	all := []dhcpv4.Modifier{dhcpv4.WithHwAddr(d.mac), dhcpv4.WithOption(dhcpv4.OptClientIdentifier(d.request.ClientID))}
	if d.request.Hostname != "" {
		all = append(all, dhcpv4.WithOption(dhcpv4.OptHostName(d.request.Hostname)))
	}
	return dhcpv4.New(append(all, more...)...)
}

// errRefused is that of a negative acknowledgement.
var errRefused = errors.New("the server refuses")

// ask sends a message, again and again if nobody answers, and returns what the first
// answer gives that is from a server that counts and can be used.
func (d *dialog) ask(ctx context.Context, to path, times int, counts func(reply) bool, more ...dhcpv4.Modifier) (given, error) {
	m, err := d.message(append(more, dhcpv4.WithRequestedOptions(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
		dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionNTPServers))...)
	if err != nil {
		return given{}, err
	}
	wanted := dhcpv4.MessageTypeAck
	if m.MessageType() == dhcpv4.MessageTypeDiscover {
		wanted = dhcpv4.MessageTypeOffer
	}
	frame := to.pack(m.ToBytes())
	for n := range times {
		if err := d.Send(frame); err != nil {
			return given{}, fmt.Errorf("ask on %s: %w", d.request.Device, err)
		}
		wait, cancel := context.WithTimeout(ctx, time.Duration(patience(n))*d.second)
		g, err := d.await(wait, m.TransactionID, wanted, counts)
		silent := wait.Err() != nil
		cancel()
		if err == nil || errors.Is(err, errRefused) || !silent || ctx.Err() != nil {
			return g, err
		}
	}
	return given{}, d.failed(fmt.Sprintf("no DHCP server answers on %s: asked %d times", d.request.Device, times))
}

// await returns the first answer that can be used.
func (d *dialog) await(ctx context.Context, xid dhcpv4.TransactionID, wanted dhcpv4.MessageType, counts func(reply) bool) (given, error) {
	for {
		frame, err := d.Receive(ctx)
		if err != nil {
			return given{}, err
		}
		message, hop, err := unpack(frame)
		if err != nil {
			continue
		}
		r, err := parse(message, xid, d.mac)
		switch {
		case err != nil || !counts(r):
			continue
		case r.MessageType() == dhcpv4.MessageTypeNak && wanted == dhcpv4.MessageTypeAck:
			d.complain("server %s refuses: %.64q", r.server, r.Message())
			return given{}, errRefused
		case r.MessageType() != wanted:
			continue
		}
		l, err := r.lease(d.now(), d.MTU())
		if err != nil {
			d.complain("a server (%s) gives %v", hop, err)
			continue
		}
		return given{l, slices.Clone(hop)}, nil
	}
}

// holder returns the MAC address of who has an address; nil if nobody says so.
func (d *dialog) holder(ctx context.Context, a netip.Addr) (net.HardwareAddr, error) {
	short, cancel := context.WithTimeout(ctx, conflictTime)
	defer cancel()
	if err := d.Send(probe(d.mac, a)); err != nil {
		return nil, err
	}
	for {
		frame, err := d.Receive(short)
		if short.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if who := claims(frame, a); who != nil && !slices.Equal(who, d.mac) {
			return slices.Clone(who), nil
		}
	}
}

func (d *dialog) complain(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(d.complaints) < maxComplaints && !slices.Contains(d.complaints, text) {
		d.complaints = append(d.complaints, text)
	}
}

// failed is the error of an exchange that came to nothing.
func (d *dialog) failed(text string) error {
	return &model.Error{Op: "dhcp.ask", Kind: model.Unfit, Err: errors.New(text), Who: strings.Join(d.complaints, "\n"),
		Way: "see whether a server is there and has addresses left, and whether its answers get through"}
}
