package iptables

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Numbers of the kernel's interface to iptables-legacy (linux/netfilter_ipv4/ip_tables.h,
// ip6_tables.h).
const getInfo = 64 // IPT_SO_GET_INFO, IP6T_SO_GET_INFO

// tableInfo is a struct ipt_getinfo: a table's hooks, and how much is in it.
type tableInfo struct {
	Name       [32]byte
	ValidHooks uint32
	HookEntry  [5]uint32
	Underflow  [5]uint32
	Entries    uint32
	Size       uint32
}

// tableInfos are those of the tables that we write to.
type tableInfos [4]tableInfo

// poller reads the tables of iptables-legacy, which send no notifications.
type poller struct {
	sockets map[int]int // raw sockets by family: that is how the kernel is asked
	seen    map[int]tableInfos
}

// openPoller opens the sockets that are needed, in the namespace of the calling thread.
func openPoller(tools []*tool) (*poller, error) {
	p := &poller{sockets: map[int]int{}, seen: map[int]tableInfos{}}
	for _, t := range tools {
		if t.variant != Legacy {
			continue
		}
		domain := unix.AF_INET
		if t.family == six {
			domain = unix.AF_INET6
		}
		s, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open a socket to watch %s: %w", commandName(t.family), err), p.close())
		}
		p.sockets[t.family] = s
	}
	return p, nil
}

func (p *poller) close() error {
	var failed []error
	for _, s := range p.sockets {
		failed = append(failed, unix.Close(s))
	}
	clear(p.sockets)
	return errors.Join(failed...)
}

// read asks for what the tables of a family have now: some microseconds each.
func (p *poller) read(family int) (out tableInfos, err error) {
	level := unix.IPPROTO_IP
	if family == six {
		level = unix.IPPROTO_IPV6
	}
	for i, table := range tablesInOrder() {
		if family == six && table == tableRaw {
			continue // nothing of ours is there, and to ask would make it
		}
		copy(out[i].Name[:], table)
		size := uint32(unsafe.Sizeof(out[i]))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(p.sockets[family]), uintptr(level), getInfo,
			uintptr(unsafe.Pointer(&out[i])), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return out, fmt.Errorf("look at table %s: %w", table, errno)
		}
	}
	return out, nil
}

// note takes the tables as they are for what they should be.
func (p *poller) note() {
	for family := range p.sockets {
		delete(p.seen, family)
		if now, err := p.read(family); err == nil {
			p.seen[family] = now
		}
	}
}

// changed tells whether the tables are not as they were noted. What cannot be read has not
// changed.
func (p *poller) changed() bool {
	for family := range p.sockets {
		seen, noted := p.seen[family]
		if now, err := p.read(family); noted && err == nil && now != seen {
			return true
		}
	}
	return false
}

// Poll implements watch.Poller, for iptables-legacy: it tells whether somebody has added
// or taken away anything since we wrote or looked last. What was replaced by something
// of the same size only a resync sees.
func (b *Backend) Poll(context.Context) (lost bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.poller.changed(), nil
}

// Close gives back what New opened. The rules stay in force.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.poller.close()
}
