package portsocket

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
func onlyTo(hosts []netip.Prefix) []unix.SockFilter {
	var program []unix.SockFilter
	for _, host := range hosts {
		at, addr := networkHeader+16, host.Addr().AsSlice() // RFC 791 section 3.1
		if host.Addr().Is6() {
			at = networkHeader + 24 // RFC 8200 section 3
		}
		var match []unix.SockFilter
		for bits := 0; bits < host.Bits(); bits += 32 {
			mask := ^uint32(0) << max(32-(host.Bits()-bits), 0)
			match = append(match, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at + uint32(bits/8)})
			if mask != ^uint32(0) {
				match = append(match, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask})
			}
			match = append(match, unix.SockFilter{
				Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(addr[bits/8:]) & mask,
			})
		}
		for i := range match { // a mismatch skips the rest of this host
			if match[i].Code&0x07 == unix.BPF_JMP {
				match[i].Jf = uint8(len(match) - i)
			}
		}
		program = append(append(program, match...), unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: keepAll})
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
