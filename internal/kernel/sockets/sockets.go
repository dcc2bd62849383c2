// Package sockets opens sockets that live inside network namespaces, for whoever
// serves containers from outside: the DNS server, the forwarder of ports.
//
// It promises that a socket it returns belongs to the namespace asked for, that
// nothing stays open after an error, and that nobody waits for a peer while a thread is
// away in a namespace: few may be. It must not read or write what passes
// through a socket.
package sockets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/nft"
)

// dnsAddress is where containers find their resolver. Its listeners take any
// free port there, and port 53 is rewritten to them.
const dnsAddress = "127.0.0.11:0"

// Opener opens sockets in the namespaces of a directory; the empty name is the
// host's.
type Opener struct {
	Namespaces *netns.Dir
}

// OpenDNS returns sockets that get what a namespace sends to 127.0.0.11 port
// 53. The caller closes both.
func (o Opener) OpenDNS(ctx context.Context, namespace string) (udp net.PacketConn, tcp net.Listener, err error) {
	// One visit for all three: a visit is a thread that travels.
	err = o.Namespaces.Do(ctx, namespace, func() (err error) {
		var l net.ListenConfig
		if udp, err = l.ListenPacket(ctx, "udp4", dnsAddress); err != nil {
			return err
		}
		if tcp, err = l.Listen(ctx, "tcp4", dnsAddress); err != nil {
			return err
		}
		return nft.RedirectDNS(0, uint16(udp.LocalAddr().(*net.UDPAddr).Port), uint16(tcp.Addr().(*net.TCPAddr).Port))
	})
	if err == nil {
		return udp, tcp, nil
	}
	for _, c := range []io.Closer{udp, tcp} {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	return nil, nil, fmt.Errorf("in network namespace %s: %w", namespace, err)
}

// RedirectHolds tells whether what a namespace sends to 127.0.0.11 port 53 still
// gets to these ports.
func (o Opener) RedirectHolds(ctx context.Context, namespace string, udpPort, tcpPort uint16) (holds bool, err error) {
	err = o.Namespaces.Do(ctx, namespace, func() (err error) {
		holds, err = nft.DNSRedirected(ctx, 0, udpPort, tcpPort)
		return err
	})
	return holds, err
}

// Redirect makes it get there again.
func (o Opener) Redirect(ctx context.Context, namespace string, udpPort, tcpPort uint16) error {
	return o.Namespaces.Do(ctx, namespace, func() error { return nft.RedirectDNS(0, udpPort, tcpPort) })
}
