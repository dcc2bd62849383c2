package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/linkspan/linkspan/internal/kernel/nft"
)

// dnsAddress is where containers find their resolver. Its listeners take any
// free port there, and port 53 is rewritten to them.
const dnsAddress = "127.0.0.11:0"

// OpenDNS returns sockets that get what a namespace sends to 127.0.0.11 port
// 53. The caller closes both.
func (k *Kernel) OpenDNS(ctx context.Context, namespace string) (udp net.PacketConn, tcp net.Listener, err error) {
	// One visit for all three: a visit is a thread that travels.
	err = k.netns.Do(ctx, namespace, func() (err error) {
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

// DialIn connects from inside a namespace; an empty name is the host's.
func (k *Kernel) DialIn(ctx context.Context, namespace, network, address string) (net.Conn, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	return k.netns.Dial(ctx, namespace, network, addr)
}
