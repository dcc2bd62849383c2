package watch

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// Where things are in a message: struct nlmsghdr, then struct rtmsg.
const (
	offType     = 4
	offPort     = 12
	offTable    = unix.NLMSG_HDRLEN + 4
	offProtocol = unix.NLMSG_HDRLEN + 5
	offKind     = unix.NLMSG_HDRLEN + 7
)

// Verdicts of a socket filter: how many bytes to keep.
const (
	dropAll = 0
	keepAll = ^uint32(0)
)

// routeGroups are the groups of notifications (linux/rtnetlink.h, RTNLGRP_*) that can
// tell of a loss.
func routeGroups() []int {
	return []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_TC, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
	}
}

// routeTypes are the messages that can.
func routeTypes() []uint16 {
	return []uint16{
		unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_DELADDR,
		unix.RTM_DELQDISC, unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER, unix.RTM_DELRULE,
	}
}

// program is classic BPF (kernel: networking/filter) that is being written. A jump goes
// to the first of the two instructions that end it.
type program []unix.SockFilter

func (p *program) load(size uint16, offset uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: offset})
}

// verdictIf ends the program with a verdict if what was loaded is k.
func (p *program) verdictIf(k, verdict uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: k}, ret(verdict))
}

// dropUnless drops if what was loaded is something else.
func (p *program) dropUnless(k uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: k}, ret(dropAll))
}

func ret(verdict uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
}

// withoutOwn drops what was caused through a port of the engine's. A filter loads in
// network byte order what netlink has in the host's.
func withoutOwn(own []uint32) (p program) {
	p.load(unix.BPF_W, offPort)
	for _, port := range own {
		p.verdictIf(swapped32(port), dropAll)
	}
	return p
}

// ownFilter keeps all but the engine's own.
func ownFilter(own []uint32) []unix.SockFilter { return append(withoutOwn(own), ret(keepAll)) }

// routeFilter keeps what may be a loss, and of routes, of which a router may learn many
// thousands, only that one of ours, or of the kernel's own, goes.
func routeFilter(own []uint32) []unix.SockFilter {
	p := withoutOwn(own)
	p.load(unix.BPF_H, offType)
	for _, t := range routeTypes() {
		p.verdictIf(swapped16(t), keepAll)
	}
	p.dropUnless(swapped16(unix.RTM_DELROUTE))
	p.load(unix.BPF_B, offProtocol)
	p.verdictIf(rtnl.Protocol, keepAll)
	p.dropUnless(unix.RTPROT_KERNEL)
	p.load(unix.BPF_B, offTable)
	p.dropUnless(unix.RT_TABLE_MAIN)
	p.load(unix.BPF_B, offKind)
	p.dropUnless(unix.RTN_UNICAST)
	return append(p, ret(keepAll))
}

func swapped32(v uint32) uint32 {
	return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, v))
}

func swapped16(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}
