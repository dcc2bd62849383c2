package netns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// ListenPacket opens a packet socket ("udp", "udp4", "udp6") in the named
// namespace. The socket stays in that namespace wherever it is used, and keeps
// the namespace alive until it is closed.
func (d *Dir) ListenPacket(ctx context.Context, name, network string, addr netip.AddrPort) (conn net.PacketConn, err error) {
	err = d.Do(ctx, name, func() (err error) {
		conn, err = new(net.ListenConfig).ListenPacket(ctx, network, addr.String())
		return err
	})
	return conn, inNamespace(name, err)
}

// Listen opens a stream listener ("tcp", "tcp4", "tcp6") in the named namespace,
// as ListenPacket does.
func (d *Dir) Listen(ctx context.Context, name, network string, addr netip.AddrPort) (l net.Listener, err error) {
	err = d.Do(ctx, name, func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, network, addr.String())
		return err
	})
	return l, inNamespace(name, err)
}

func inNamespace(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("in network namespace %s: %w", name, err)
}
