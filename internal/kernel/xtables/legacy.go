package xtables

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// LegacyTables returns the names of the tables that iptables-legacy has for a family in
// the current network namespace: one exists as soon as somebody has asked for it.
func LegacyTables(f model.Family) []string {
	name := "ip_tables_names"
	if f == model.IPv6 {
		name = "ip6_tables_names"
	}
	names, _ := os.ReadFile("/proc/thread-self/net/" + name) // it is not there: no tables
	return strings.Fields(string(names))
}

// Shape is how much there is in a table of iptables-legacy, and where (struct
// ipt_getinfo of the kernel's linux/netfilter_ipv4/ip_tables.h). It changes with every
// rule that comes or goes; one that is replaced by another of the same size leaves it as
// it is.
type Shape struct {
	Name      [32]byte
	Hooks     uint32
	Entry     [5]uint32
	Underflow [5]uint32
	Entries   uint32
	Size      uint32
}

// Socket asks the kernel for the shapes of tables, of one family and the network
// namespace that it was opened in.
type Socket struct {
	descriptor int
	family     model.Family
}

// OpenSocket opens one in the namespace of the calling thread. The caller closes it.
func OpenSocket(f model.Family) (Socket, error) {
	domain := unix.AF_INET
	if f == model.IPv6 {
		domain = unix.AF_INET6
	}
	s, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return Socket{}, fmt.Errorf("open a socket to watch %s: %w", Program(f), err)
	}
	return Socket{s, f}, nil
}

// Close gives the descriptor back.
func (s Socket) Close() error { return unix.Close(s.descriptor) }

// Shape returns that of a table, in some microseconds. To ask makes the table.
func (s Socket) Shape(table string) (out Shape, err error) {
	const getInfo = 64 // IPT_SO_GET_INFO, IP6T_SO_GET_INFO
	level := unix.IPPROTO_IP
	if s.family == model.IPv6 {
		level = unix.IPPROTO_IPV6
	}
	copy(out.Name[:len(out.Name)-1], table)
	size := uint32(unsafe.Sizeof(out))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.descriptor), uintptr(level), getInfo,
		uintptr(unsafe.Pointer(&out)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return out, fmt.Errorf("look at table %s: %w", table, errno)
	}
	return out, nil
}
