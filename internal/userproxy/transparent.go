package userproxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dial connects to where a host port leads: under the client's own address and port if
// the row says so and answers can come back, else under the host's.
//
// Under an address that is not the host's the socket is transparent (ip(7),
// IP_TRANSPARENT); the firewall and a routing rule have what is sent to it delivered
// here. If the client's port cannot be had under its address, because another
// connection has it, or the client is a socket of this host itself, another is taken.
func (p *proxy) dial(ctx context.Context, network string, client, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTime, KeepAliveConfig: keepAlive}
	if !p.speaksFor(client.Addr()) {
		return d.DialContext(ctx, network, to.String())
	}
	d.Control, d.LocalAddr = transparently, localAddrOf(network, client)
	conn, err := d.DialContext(ctx, network, to.String())
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL) {
		d.LocalAddr = localAddrOf(network, netip.AddrPortFrom(client.Addr(), 0))
		conn, err = d.DialContext(ctx, network, to.String())
	}
	return conn, err
}

// speaksFor tells whether the container is to see this address of a client.
func (p *proxy) speaksFor(client netip.Addr) bool {
	return p.row.Transparent && client.Is4() == p.row.To.Is4() && client.IsGlobalUnicast() && !p.row.Subnet.Contains(client)
}

func localAddrOf(network string, at netip.AddrPort) net.Addr {
	if network == "udp" {
		return net.UDPAddrFromAddrPort(at)
	}
	return net.TCPAddrFromAddrPort(at)
}

// transparently lets a socket use addresses that are not the host's (ipv6(7),
// IPV6_TRANSPARENT). A TCP connection of the same client that has just ended is not in
// the way.
func transparently(network, _ string, c syscall.RawConn) error {
	level, option := unix.IPPROTO_IP, unix.IP_TRANSPARENT
	if network == "tcp6" || network == "udp6" {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT
	}
	var err error
	closed := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), level, option, 1)
		if strings.HasPrefix(network, "tcp") && err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}
	})
	return errors.Join(closed, err)
}
