// Shortlease is a DHCP server (RFC 2131) at INTERFACE with leases that are shorter than those
// of servers one can install: it gives out addresses from FIRST on, of a /24, for so many
// SECONDS. Each client keeps its address as long as it has not released it, and has the one
// that it asks for if nobody else has that.
//
// Every message is a line on standard output: its type, the address, the hostname.
package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "shortlease:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: shortlease INTERFACE FIRST SECONDS")
	}
	first, err := netip.ParseAddr(args[1])
	if err != nil {
		return err
	}
	seconds, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	own, err := ownAddress(args[0])
	if err != nil {
		return err
	}
	s := &leases{own: own, first: first, life: time.Duration(seconds) * time.Second, of: map[string]netip.Addr{}}
	server, err := server4.NewServer(args[0], &net.UDPAddr{Port: dhcpv4.ServerPort}, s.handle)
	if err != nil {
		return err
	}
	return server.Serve()
}

// ownAddress returns the first IPv4 address of an interface.
func ownAddress(name string) (netip.Addr, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Addr{}, err
	}
	addrs, err := i.Addrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("interface %s has no address: %w", name, err)
}

// leases are what was given to whom.
type leases struct {
	own, first netip.Addr
	life       time.Duration

	mu sync.Mutex // guards of
	of map[string]netip.Addr
}

// handle answers a message of a client.
func (s *leases) handle(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	s.mu.Lock()
	defer s.mu.Unlock()
	client := string(m.Options.Get(dhcpv4.OptionClientIdentifier))
	asked, _ := netip.AddrFromSlice(m.RequestedIPAddress().To4())
	if !m.ClientIPAddr.IsUnspecified() {
		asked, _ = netip.AddrFromSlice(m.ClientIPAddr.To4())
	}
	kind, a := dhcpv4.MessageTypeOffer, s.of[client]
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		if !a.IsValid() {
			a = s.free(asked)
		}
	case dhcpv4.MessageTypeRequest:
		kind = dhcpv4.MessageTypeAck
		if !a.IsValid() && s.free(asked) == asked {
			a = asked
		}
		if s.of[client] = a; a != asked {
			kind = dhcpv4.MessageTypeNak
		}
	case dhcpv4.MessageTypeRelease:
		delete(s.of, client)
	default:
		return
	}
	fmt.Println(m.MessageType(), asked, m.HostName())
	if m.MessageType() == dhcpv4.MessageTypeRelease {
		return
	}
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(a.AsSlice()), dhcpv4.WithServerIP(s.own.AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.own.AsSlice())), dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithRouter(s.own.AsSlice()), dhcpv4.WithLeaseTime(uint32(s.life.Seconds())))
	if err == nil {
		_, err = conn.WriteTo(r.ToBytes(), peer)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "shortlease:", err)
	}
}

// free returns an address that nobody has: the wanted one, if it is of those.
func (s *leases) free(wanted netip.Addr) netip.Addr {
	taken := map[netip.Addr]bool{s.own: true}
	for _, a := range s.of {
		taken[a] = true
	}
	subnet := netip.PrefixFrom(s.first, 24).Masked()
	if wanted.IsValid() && subnet.Contains(wanted) && !wanted.Less(s.first) && !taken[wanted] {
		return wanted
	}
	a := s.first
	for taken[a] {
		a = a.Next()
	}
	return a
}
