// Package bindguard refuses bind(2) on host ports to other processes, without a
// socket for each port: two small programs in the kernel (BPF_CGROUP_INET4_BIND
// and BPF_CGROUP_INET6_BIND) compare what is asked for with a list of ranges.
//
// It promises:
//
//   - While a Guard has a row, bind to one of its ports fails with EADDRINUSE, or
//     with EPERM before Linux 6.1, for every process below the cgroup and in the
//     network namespace of the Guard: TCP and UDP, both families, also for
//     sockets that share ports with SO_REUSEPORT. Other namespaces never notice.
//   - The programs end with the process: the kernel detaches them with the last
//     descriptor. Nothing stays behind, however the process ends.
//   - A change of rows is seen by others at once as a whole, for each family.
//
// It does not find out who had a port before; it does not hinder the kernel from
// choosing a port by itself (bind to port 0, or connect without bind); it does not
// see SCTP, whose bind passes no such program. A bind to all IPv6 addresses counts
// as one to all of IPv4 too: whether the socket is for IPv6 only is not shown.
package bindguard

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

// maxRows bounds the programs: a row takes 30 instructions at most, and a jump
// reaches 32 767.
const maxRows = 512

// Options says where a Guard works.
type Options struct {
	// Cgroup is a folder of cgroup v2; the processes below it are kept away. Empty
	// is the root of the hierarchy that is mounted.
	Cgroup string
}

// Guard keeps other processes from ports. Its methods may be called from several
// goroutines.
type Guard struct {
	cgroup string

	mu    sync.Mutex
	rows  []desired.Reserve
	links map[ebpf.AttachType]*link.RawLink
}

// New returns a Guard that has no rows, and nothing in the kernel.
func New(o Options) *Guard {
	return &Guard{cgroup: o.Cgroup, links: map[ebpf.AttachType]*link.RawLink{}}
}

// Set makes rows the ones that are kept, in place of those before. Without rows
// there is nothing in the kernel. With an error the rows before may be kept still,
// in one family or in both. Rows of SCTP are passed over.
//
// It needs Linux 5.14, a mounted cgroup v2, CAP_BPF and CAP_NET_ADMIN.
func (g *Guard) Set(rows []desired.Reserve) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	rows = visible(rows)
	if slices.Equal(rows, g.rows) && (len(rows) == 0) == (len(g.links) == 0) {
		return nil
	}
	if len(rows) == 0 {
		return g.detach()
	}
	if len(rows) > maxRows {
		return fmt.Errorf("more than %d ranges of ports", maxRows)
	}
	cookie, err := netnsCookie()
	if err != nil {
		return err
	}
	g.rows = nil // until all is as it should be
	// A socket of IPv6 can be in the way of IPv4 too, but not the other way round.
	if err := g.install(ebpf.AttachCGroupInet6Bind, listing{cookie: cookie, rows: rows}); err != nil {
		return err
	}
	if slices.ContainsFunc(rows, func(r desired.Reserve) bool { return r.Addr.Is4() }) {
		err = g.install(ebpf.AttachCGroupInet4Bind, listing{cookie: cookie, rows: rows})
	} else {
		err = g.remove(ebpf.AttachCGroupInet4Bind)
	}
	if err == nil {
		g.rows = rows
	}
	return err
}

// visible returns the rows that the programs can look at, as a copy.
func visible(rows []desired.Reserve) []desired.Reserve {
	rows = slices.Clone(rows)
	return slices.DeleteFunc(rows, func(r desired.Reserve) bool { return protocolNumber(r.Protocol) == 0 })
}

// Close takes the programs out of the kernel. The Guard may be used again.
func (g *Guard) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.detach()
}

func (g *Guard) detach() error {
	var failed []error
	for family := range g.links {
		failed = append(failed, g.remove(family))
	}
	g.rows = nil
	return errors.Join(failed...)
}

// remove takes the program of a family out of the kernel, if it is there.
func (g *Guard) remove(family ebpf.AttachType) error {
	l := g.links[family]
	if l == nil {
		return nil
	}
	delete(g.links, family)
	return l.Close()
}

// install loads the program of a family and puts it in the place of the one before.
// The link keeps the program alive, and only the Guard keeps the link alive: it is
// never pinned, and never attached in the older way, which would outlive the process.
func (g *Guard) install(family ebpf.AttachType, l listing) error {
	program, err := load(family, l)
	if err != nil {
		return err
	}
	defer program.Close() //nolint:errcheck // the link has it
	if old := g.links[family]; old != nil {
		if err := old.Update(program); err != nil {
			return fmt.Errorf("replace the program: %w", err)
		}
		return nil
	}
	dir, err := g.open()
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // a folder
	fresh, err := link.AttachRawLink(link.RawLinkOptions{Target: int(dir.Fd()), Program: program, Attach: family})
	if err != nil {
		return fmt.Errorf("attach the program to %s: %w", dir.Name(), err)
	}
	g.links[family] = fresh
	return nil
}

// load gives a program to the kernel. Before Linux 6.1 a program cannot choose the
// error.
func load(family ebpf.AttachType, l listing) (*ebpf.Program, error) {
	var err error
	for _, l.plain = range []bool{false, true} {
		var program *ebpf.Program
		program, err = ebpf.NewProgramWithOptions(&ebpf.ProgramSpec{
			Name: "linkspan_bind", Type: ebpf.CGroupSockAddr, AttachType: family, License: "MIT", Instructions: l.program(family),
		}, ebpf.ProgramOptions{LogDisabled: true})
		if err == nil {
			return program, nil
		}
	}
	return nil, fmt.Errorf("load the program: %w", err)
}

// netnsCookie returns the number of the network namespace of this thread
// (socket(7), SO_NETNS_COOKIE).
func netnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was done with it
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("number of the network namespace: %w", err)
	}
	return cookie, nil
}

// passMark is the mark of a socket that may bind everywhere: "lspn".
const passMark = 0x6c73706e

// Pass runs bind, which binds the socket fd of this process, so that no Guard is in
// its way. To mark a socket takes CAP_NET_ADMIN; whoever has that could remove the
// programs too.
func Pass(fd int, bind func() error) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, passMark); err != nil {
		return bind() // nor could we have a Guard
	}
	// Back at once: routes and the firewall of the user may go by marks.
	return errors.Join(bind(), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, 0))
}
