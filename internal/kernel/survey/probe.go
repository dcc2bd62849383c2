package survey

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/model"
)

// Probe makes one attempt: a connection by TCP, which it closes at once; an empty datagram
// by UDP, of which only a refusal tells anything; or an echo request.
func (s *Surveyor) Probe(ctx context.Context, q evidence.ProbeQuestion) (p evidence.Probe) {
	if q.Protocol == model.SCTP {
		return p
	}
	start := time.Now()
	err := s.enter(ctx, q.Namespace, func(int) error {
		ctx, cancel := context.WithTimeout(ctx, q.Timeout)
		defer cancel()
		var from net.Addr
		var err error
		if q.Protocol == "" {
			from, err = echo(ctx, q.To.Addr())
		} else {
			from, err = connect(ctx, string(q.Protocol), q.To)
		}
		if from != nil {
			if at, parseErr := netip.ParseAddrPort(from.String()); parseErr == nil {
				p.From = at.Addr().Unmap()
			}
		}
		p.Result = judge(q.Protocol, err)
		return err
	})
	if p.Took = time.Since(start); err != nil {
		p.Err = errno(err)
		if p.Result == "" && q.Protocol != model.UDP {
			p.Result = evidence.ProbeFailed
		}
	}
	return p
}

// judge says what an error means.
func judge(protocol model.Protocol, err error) evidence.ProbeResult {
	silent := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, unix.ETIMEDOUT)
	switch {
	case err == nil:
		return evidence.ProbeConnected
	case silent && protocol == model.UDP:
		return evidence.ProbeNone
	case silent:
		return evidence.ProbeSilent
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET):
		return evidence.ProbeRefused
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOPROTOOPT):
		return evidence.ProbeUnreachable
	}
	return evidence.ProbeFailed
}

func connect(ctx context.Context, network string, to netip.AddrPort) (net.Addr, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, to.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if network != string(model.UDP) {
		return conn.LocalAddr(), nil
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := conn.Write(nil); err != nil {
		return conn.LocalAddr(), err
	}
	_, err = conn.Read(make([]byte, 1))
	return conn.LocalAddr(), err
}

// echoNumber tells echo requests of ours from others', which come by the same socket.
const echoNumber = 0x6c73

// echo sends an echo request, and waits for its answer (RFC 792, RFC 4443).
func echo(ctx context.Context, to netip.Addr) (net.Addr, error) {
	network, any, request, number := "ip4:icmp", "0.0.0.0", icmp.Type(ipv4.ICMPTypeEcho), 1
	if to.Is6() {
		network, any, request, number = "ip6:ipv6-icmp", "::", icmp.Type(ipv6.ICMPTypeEchoRequest), 58
	}
	conn, err := icmp.ListenPacket(network, any)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	body := &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: echoNumber, Data: []byte("linkspan")}
	raw, err := (&icmp.Message{Type: request, Body: body}).Marshal(nil)
	if err != nil {
		return nil, err
	}
	if _, err := conn.WriteTo(raw, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return nil, err
	}
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return nil, err
		}
		m, err := icmp.ParseMessage(number, buffer[:n])
		if err != nil {
			continue
		}
		answer, isEcho := m.Body.(*icmp.Echo)
		reply := m.Type == ipv4.ICMPTypeEchoReply || m.Type == ipv6.ICMPTypeEchoReply
		if isEcho && reply && answer.ID == body.ID && answer.Seq == body.Seq && strings.HasPrefix(from.String(), to.String()) {
			return nil, nil
		}
	}
}

// maxDatagram bounds what is read of a name server.
const maxDatagram = 4096

// Ask asks one name server for the addresses of a name, of either family.
func (s *Surveyor) Ask(ctx context.Context, q evidence.NameQuestion) evidence.NameServer {
	out := evidence.NameServer{Server: q.Server, Answer: evidence.Silent}
	err := s.enter(ctx, q.Namespace, func(int) error {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
			answer, addrs, err := exchange(ctx, q, kind)
			if err != nil {
				return err
			}
			out.Answer, out.Addrs = answer, append(out.Addrs, addrs...)
			if answer != evidence.NoData {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		out.Err = errno(err)
	}
	return out
}

// exchange sends a query by UDP, and reads its answer (RFC 1035).
func exchange(ctx context.Context, q evidence.NameQuestion, kind dnsmessage.Type) (evidence.NameAnswer, []netip.Addr, error) {
	name, err := dnsmessage.NewName(strings.TrimSuffix(q.Name, ".") + ".")
	if err != nil {
		return "", nil, err
	}
	id := uint16(time.Now().UnixNano()) // nobody gains by guessing: the answer is shown, not used
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: kind, Class: dnsmessage.ClassINET}},
	}
	raw, err := query.Pack()
	if err != nil {
		return "", nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", netip.AddrPortFrom(q.Server, 53).String())
	if err != nil {
		return "", nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(q.Timeout)); err != nil {
		return "", nil, err
	}
	if _, err := conn.Write(raw); err != nil {
		return "", nil, err
	}
	buffer := make([]byte, maxDatagram)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return "", nil, err
		}
		var reply dnsmessage.Message
		if reply.Unpack(buffer[:n]) == nil && reply.ID == id && reply.Response {
			return answered(reply)
		}
	}
}

// maxAddresses bounds what is shown of an answer.
const maxAddresses = 16

// answered is what a reply says.
func answered(reply dnsmessage.Message) (evidence.NameAnswer, []netip.Addr, error) {
	switch reply.RCode {
	case dnsmessage.RCodeNameError:
		return evidence.NoName, nil, nil
	case dnsmessage.RCodeSuccess:
	default:
		return evidence.Refused, nil, nil
	}
	var addrs []netip.Addr
	for _, r := range reply.Answers {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			addrs = append(addrs, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			addrs = append(addrs, netip.AddrFrom16(body.AAAA))
		}
	}
	if len(addrs) == 0 {
		return evidence.NoData, nil, nil
	}
	return evidence.Answered, addrs[:min(len(addrs), maxAddresses)], nil
}
