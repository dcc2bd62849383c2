package main

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/nft"
)

// dnsAddress is where containers find their resolver. Its listeners take any
// free port there, and port 53 is rewritten to them.
var dnsAddress = netip.MustParseAddrPort("127.0.0.11:0")

// sockets gives the resolver sockets inside sandboxes.
type sockets struct{ namespaces *netns.Dir }

// OpenDNS implements resolver.Opener.
func (s sockets) OpenDNS(ctx context.Context, namespace string) (net.PacketConn, net.Listener, error) {
	udp, err := s.namespaces.ListenPacket(ctx, namespace, "udp4", dnsAddress)
	if err != nil {
		return nil, nil, err
	}
	tcp, err := s.namespaces.Listen(ctx, namespace, "tcp4", dnsAddress)
	if err != nil {
		return nil, nil, errors.Join(err, udp.Close())
	}
	if err := s.redirect(namespace, udp.LocalAddr().(*net.UDPAddr).Port, tcp.Addr().(*net.TCPAddr).Port); err != nil {
		return nil, nil, errors.Join(err, udp.Close(), tcp.Close())
	}
	return udp, tcp, nil
}

func (s sockets) redirect(namespace string, udp, tcp int) error {
	file, err := s.namespaces.Open(namespace)
	if err != nil {
		return err
	}
	defer file.Close()
	return nft.RedirectDNS(int(file.Fd()), uint16(udp), uint16(tcp))
}

// DialIn implements resolver.Opener.
func (s sockets) DialIn(ctx context.Context, namespace, network, address string) (net.Conn, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	return s.namespaces.Dial(ctx, namespace, network, addr)
}
