package forward

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// What a socket filter returns: how many bytes of the packet to keep.
const (
	keepNone = 0
	keepAll  = 0xffffffff
)

// networkHeader is where the network header begins for a load; see SKF_NET_OFF in
// linux/filter.h. Without it loads count from the transport header.
const networkHeader = ^uint32(0x100000) + 1

// onlyTo returns a classic BPF program that drops all packets but those to one of
// the hosts, which are of one family. Without hosts it drops everything.
func onlyTo(hosts []netip.Addr) []unix.SockFilter {
	var program []unix.SockFilter
	for _, host := range hosts {
		at, addr := networkHeader+16, host.AsSlice() // RFC 791 section 3.1
		if host.Is6() {
			at = networkHeader + 24 // RFC 8200 section 3
		}
		words := len(addr) / 4
		for i := range words {
			rest := 2*(words-1-i) + 1 // instructions of this host that a mismatch skips
			program = append(program,
				unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at + uint32(4*i)},
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(rest), K: binary.BigEndian.Uint32(addr[4*i:])},
			)
		}
		program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: keepAll})
	}
	return append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: keepNone})
}

// attach puts a program in the place of whatever filter the socket has
// (socket(7), SO_ATTACH_FILTER).
func attach(fd int, program []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// detach lets every packet pass.
func detach(fd int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	if err == unix.ENOENT {
		return nil // there is none
	}
	return err
}
