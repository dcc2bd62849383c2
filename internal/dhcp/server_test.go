package dhcp

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/linkspan/linkspan/internal/model"
)

// server is a DHCP server, or what passes for one, on a line of its own.
type server struct {
	answer func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4
	// holds are addresses that machines on the line have.
	holds map[netip.Addr]net.HardwareAddr

	mu     sync.Mutex
	heard  []*dhcpv4.DHCPv4
	frames chan []byte
}

var (
	clientMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	serverMAC = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	otherMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 7}
	serverIP  = netip.MustParseAddr("192.0.2.1")
)

func (s *server) MAC() net.HardwareAddr { return clientMAC }
func (s *server) MTU() int              { return 1500 }
func (s *server) Close() error          { return nil }

func (s *server) Send(frame []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if frame[12] == 8 && frame[13] == 6 {
		a := netip.AddrFrom4([4]byte(frame[etherLen+24 : etherLen+28]))
		if mac, held := s.holds[a]; held {
			s.frames <- arpReply(mac, a)
		}
		return nil
	}
	m, err := dhcpv4.FromBytes(frame[etherLen+ipLen+udpLen:])
	if err != nil {
		return err
	}
	s.heard = append(s.heard, m)
	for _, r := range s.answer(m) {
		s.frames <- toClient(r)
	}
	return nil
}

func (s *server) Receive(ctx context.Context) ([]byte, error) {
	select {
	case f := <-s.frames:
		return f, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// types returns which messages the server was sent.
func (s *server) types() []dhcpv4.MessageType {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []dhcpv4.MessageType
	for _, m := range s.heard {
		out = append(out, m.MessageType())
	}
	return out
}

// toClient is pack the other way round.
func toClient(m *dhcpv4.DHCPv4) []byte {
	p := path{serverMAC, broadcastMAC, serverIP, netip.AddrFrom4([4]byte{255, 255, 255, 255})}
	b := p.pack(m.ToBytes())
	udp := b[etherLen+ipLen:]
	udp[1], udp[3] = serverPort, clientPort
	return b
}

func arpReply(mac net.HardwareAddr, a netip.Addr) []byte {
	b := probe(mac, a)
	b[etherLen+7] = 2
	raw := a.As4()
	copy(b[etherLen+14:], raw[:])
	return b
}

// given4 is an honest answer: an offer, or an acknowledgement, of an address.
func given4(m *dhcpv4.DHCPv4, address string, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	kind := dhcpv4.MessageTypeAck
	if m.MessageType() == dhcpv4.MessageTypeDiscover {
		kind = dhcpv4.MessageTypeOffer
	}
	r, err := dhcpv4.NewReplyFromRequest(m, append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.ParseIP(address)), dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(serverIP.AsSlice())), dhcpv4.WithLeaseTime(3600), dhcpv4.WithRouter(serverIP.AsSlice()),
	}, more...)...)
	if err != nil {
		panic(err)
	}
	return r
}

func newServer(answer func(m *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4) *server {
	return &server{answer: answer, holds: map[netip.Addr]net.HardwareAddr{}, frames: make(chan []byte, 1000)}
}

// instant is how long a second of waiting is in tests.
const instant = 60 * time.Millisecond

// clientOf returns a client that has just one server to ask.
func clientOf(t *testing.T, s *server, file string) *Client {
	t.Helper()
	c := New(Options{File: file, Logger: discard, Second: instant, Open: func(string, model.Family) (Line, error) { return s, nil }})
	if err := c.Resume(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Pause)
	return c
}
