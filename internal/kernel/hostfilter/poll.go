package hostfilter

import (
	"context"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// shape is how much there is in a filter table of x_tables, and where (struct
// ipt_getinfo of the kernel's linux/netfilter_ipv4/ip_tables.h). It changes with every
// rule that comes or goes.
type shape struct {
	Name      [32]byte
	Hooks     uint32
	Entry     [5]uint32
	Underflow [5]uint32
	Entries   uint32
	Size      uint32
}

// shapeOf asks the kernel, in the namespace of the calling thread. To ask makes the table.
func shapeOf(domain, level int) (s shape, err error) {
	const getInfo = 64 // IPT_SO_GET_INFO, IP6T_SO_GET_INFO
	socket, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return s, fmt.Errorf("open a socket to look at table %s: %w", filterTable, err)
	}
	defer unix.Close(socket) //nolint:errcheck // nothing was written through it
	copy(s.Name[:], filterTable)
	size := uint32(unsafe.Sizeof(s))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(socket), uintptr(level), getInfo,
		uintptr(unsafe.Pointer(&s)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return s, fmt.Errorf("look at table %s: %w", filterTable, errno)
	}
	return s, nil
}

// shape asks for that of the family's table.
func (l *legacy) shape() (s shape, err error) {
	domain, level := unix.AF_INET, unix.IPPROTO_IP
	if l.family == unix.NFPROTO_IPV6 {
		domain, level = unix.AF_INET6, unix.IPPROTO_IPV6
	}
	err = l.tools.enter(func() (err error) {
		s, err = shapeOf(domain, level)
		return err
	})
	return s, err
}

// changed tells whether rules have come or gone since the last look. Whether ours are
// among them, only a comparison says.
func (l *legacy) changed() (bool, error) {
	if !l.active() || !l.mu.TryLock() { // else somebody is at it
		return false, nil
	}
	defer l.mu.Unlock()
	now, err := l.shape()
	return err == nil && now != l.seen, err
}

// Poll implements watch.Poller, for tables of iptables-legacy, which send no
// notifications.
func (f *Firewall) Poll(context.Context) (lost bool, err error) {
	for _, y := range f.families {
		changed, failed := y.legacy.changed()
		if failed != nil {
			return lost, failed
		}
		lost = lost || changed
	}
	return lost, nil
}
