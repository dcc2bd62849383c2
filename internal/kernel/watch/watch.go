// Package watch hears what changes in a network namespace, by whomever: netlink(7)
// notifications of nf_tables and of rtnetlink(7).
//
// It must not know what is wanted: it passes on what may be a loss, and by whom. What
// the engine itself changes is left out in the kernel already, by a socket filter, so
// that an attach wakes nobody. Notifications are hints: the kernel drops those that come
// faster than they are read, and says only that it did (Overflow).
//
// What has gone wrong elsewhere: a daemon that repaired because of notifications of its
// own repair, without end.
package watch

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer is asked for, in bytes: `nft flush ruleset` of ten thousand rules
	// fits.
	receiveBuffer = 2 << 20
	// datagramSize holds the largest datagram of notifications: nf_tables gathers up to
	// NLMSG_GOODSIZE, a link's message has a few KiB.
	datagramSize = 64 << 10
)

// Table is a table of nf_tables, or one chain of it.
type Table struct {
	Family byte // unix.NFPROTO_*
	Name   string
	Chain  string // empty for all that is in the table
}

// TablesNamed returns the tables of that name in each family.
func TablesNamed(name string, families ...byte) (out []Table) {
	for _, f := range families {
		out = append(out, Table{Family: f, Name: name})
	}
	return out
}

// Options say what to leave out, and what to look for.
type Options struct {
	// Own are netlink ports (netlink(7), nl_pid) whose changes are the engine's.
	Own []uint32
	// Tables are those of which changes are told, unless a thread or a child of this
	// process made them.
	Tables []Table
	// NoRoute leaves out rtnetlink.
	NoRoute bool
	// Mine tells of a process whether it was a child of this one, and has ended: what it
	// changed may be told afterwards. It may be nil.
	Mine func(pid int) bool
}

// Event is one change.
type Event struct {
	// Overflow says that some events were lost: anything may have changed.
	Overflow bool
	// Table has changed, unless its name is empty, and others may have with it.
	Table Table
	// Type and Body are a message of rtnetlink, without its netlink header; Body is valid
	// until the handler returns. Type is 0 in other events.
	Type uint16
	Body []byte

	by   process
	port uint32 // of a message of rtnetlink
}

// Who says who did it, as far as the kernel tells; empty if it does not.
func (e Event) Who() string {
	if e.port != 0 {
		return byPort(e.port).String()
	}
	return e.by.String()
}

// Watch is the sockets of one namespace.
type Watch struct {
	tables  map[Table]bool
	mine    func(pid int) bool
	sockets []*socket
	closed  atomic.Bool
}

// Open begins to hear what happens in the calling thread's network namespace. A kernel
// without nf_tables has nothing to tell of that.
func Open(o Options) (*Watch, error) {
	w := &Watch{tables: map[Table]bool{}, mine: o.Mine}
	if w.mine == nil {
		w.mine = func(int) bool { return false }
	}
	for _, t := range o.Tables {
		w.tables[t] = true
	}
	if !o.NoRoute {
		route, err := listen(unix.NETLINK_ROUTE, routeFilter(o.Own), routeGroups())
		if err != nil {
			return nil, fmt.Errorf("listen to rtnetlink: %w", err)
		}
		w.sockets = append(w.sockets, route)
	}
	if len(o.Tables) == 0 {
		return w, nil
	}
	firewall, err := listen(unix.NETLINK_NETFILTER, ownFilter(o.Own), []int{unix.NFNLGRP_NFTABLES})
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("listen to nf_tables: %w", err)
	}
	w.sockets = append(w.sockets, firewall)
	return w, nil
}

// Run passes events to handle, one at a time, until Close. The error is that of a socket
// that broke.
func (w *Watch) Run(handle func(Event)) error {
	var one sync.Mutex
	var all sync.WaitGroup
	errs := make([]error, len(w.sockets))
	for i, s := range w.sockets {
		all.Go(func() {
			reader := reader{tables: w.tables, mine: w.mine, touched: map[Table]bool{}, handle: func(e Event) {
				one.Lock()
				defer one.Unlock()
				handle(e)
			}}
			if err := s.run(&reader); !w.closed.Load() { // else it is that of the closed socket
				errs[i] = err
			}
			w.Close() // one without the other would look like peace
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Close ends Run. It may be called more than once.
func (w *Watch) Close() {
	w.closed.Store(true)
	for _, s := range w.sockets {
		s.file.Close() //nolint:errcheck // nothing was written through it
	}
}

// PortsOf returns the number by which the kernel knows a netlink socket, if it has one:
// see Options.Own.
func PortsOf(socket syscall.RawConn) (ports []uint32) {
	_ = socket.Control(func(fd uintptr) {
		if name, err := unix.Getsockname(int(fd)); err == nil {
			if a, ok := name.(*unix.SockaddrNetlink); ok {
				ports = []uint32{a.Pid}
			}
		}
	})
	return ports
}

// socket is one netlink socket that is a member of groups.
type socket struct {
	file     *os.File
	raw      syscall.RawConn
	protocol int
	buffer   []byte
}

func listen(protocol int, filter []unix.SockFilter, groups []int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "netlink notifications")
	// A smaller buffer only overflows sooner.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	err = errors.Join(err, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	for _, g := range groups {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g))
	}
	raw, rawErr := file.SyscallConn()
	if err = errors.Join(err, rawErr); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &socket{file: file, raw: raw, protocol: protocol, buffer: make([]byte, datagramSize)}, nil
}

// run reads until the socket is closed, or broken.
func (s *socket) run(r *reader) error {
	for {
		n, err := s.receive()
		if errors.Is(err, unix.ENOBUFS) {
			r.overflow()
			continue
		}
		if err != nil {
			return err
		}
		r.take(s.protocol, s.buffer[:n])
	}
}

// receive waits for the next datagram of the kernel's.
func (s *socket) receive() (n int, err error) {
	for {
		var from unix.Sockaddr
		waited := s.raw.Read(func(fd uintptr) bool {
			n, from, err = unix.Recvfrom(int(fd), s.buffer, 0)
			return !errors.Is(err, unix.EAGAIN)
		})
		if waited != nil {
			return 0, waited
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if a, ok := from.(*unix.SockaddrNetlink); err != nil || ok && a.Pid == 0 {
			return n, err
		}
	}
}
