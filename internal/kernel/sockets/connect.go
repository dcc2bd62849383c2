package sockets

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// kinds are the sockets that Open knows.
var kinds = map[string]struct{ family, kind int }{
	"udp4": {unix.AF_INET, unix.SOCK_DGRAM},
	"udp6": {unix.AF_INET6, unix.SOCK_DGRAM},
	"tcp4": {unix.AF_INET, unix.SOCK_STREAM},
	"tcp6": {unix.AF_INET6, unix.SOCK_STREAM},
}

// Open returns count sockets in a namespace for a network, "udp4", "udp6", "tcp4" or
// "tcp6", with neither port nor peer. The caller closes them; each keeps the
// namespace alive until then.
func (o Opener) Open(ctx context.Context, namespace, network string, count int) ([]*os.File, error) {
	k, ok := kinds[network]
	if !ok {
		return nil, fmt.Errorf("no sockets for network %q", network)
	}
	sockets := make([]*os.File, 0, count)
	err := o.Namespaces.Do(ctx, namespace, func() error {
		for range count {
			fd, err := unix.Socket(k.family, k.kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return os.NewSyscallError("socket", err)
			}
			sockets = append(sockets, os.NewFile(uintptr(fd), network))
		}
		return nil
	})
	if err != nil {
		for _, s := range sockets {
			err = errors.Join(err, s.Close())
		}
		return nil, fmt.Errorf("in network namespace %s: %w", namespace, err)
	}
	return sockets, nil
}

// Connect gives a socket of Open a port, which the kernel draws, and its peer. It
// visits no namespace: where packets go is the socket's matter, and a peer that is
// slow holds nobody up. A peer that has to be waited for is waited for until ctx's
// deadline, which is then also that of the socket's reads and writes.
func (o Opener) Connect(ctx context.Context, socket *os.File, peer netip.AddrPort) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	try := func(fd uintptr) { result = connect(int(fd), peer) }
	if err := raw.Control(try); err != nil {
		return err
	}
	if underWay(result) {
		if deadline, ok := ctx.Deadline(); ok {
			if err := socket.SetDeadline(deadline); err != nil {
				return err
			}
		}
		err = raw.Write(func(fd uintptr) bool {
			try(fd)
			return !underWay(result)
		})
		if err != nil {
			return os.NewSyscallError("connect", err)
		}
	}
	return os.NewSyscallError("connect", result)
}

func underWay(err error) bool { return err == unix.EINPROGRESS || err == unix.EALREADY }

// connect is connect(2), to be called again for as long as it is under way.
func connect(fd int, peer netip.AddrPort) error {
	address, err := address(fd, peer)
	if err != nil {
		return err
	}
	for {
		switch err := unix.Connect(fd, address); err {
		case unix.EINTR:
		case unix.EISCONN:
			return nil
		default:
			return err
		}
	}
}

// address is a peer in the kernel's form. A zone is the name of an interface of the
// socket's namespace.
func address(fd int, peer netip.AddrPort) (unix.Sockaddr, error) {
	a := peer.Addr().Unmap()
	if a.Is4() {
		return &unix.SockaddrInet4{Port: int(peer.Port()), Addr: a.As4()}, nil
	}
	to := &unix.SockaddrInet6{Port: int(peer.Port()), Addr: a.As16()}
	if a.Zone() == "" {
		return to, nil
	}
	index, err := interfaceIndex(fd, a.Zone())
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", a.Zone(), err)
	}
	to.ZoneId = index
	return to, nil
}

// interfaceIndex returns the index of an interface of the socket's namespace.
func interfaceIndex(fd int, name string) (uint32, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	return request.Uint32(), err
}
