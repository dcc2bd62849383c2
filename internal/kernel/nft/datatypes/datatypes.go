// Package datatypes has the data types of nftables sets (nft(8), DATA TYPES): the numbers
// that they go by, the sizes of values, and values as text. A key of several parts is a
// concatenation; each of its parts fills whole registers of 32 bits.
package datatypes

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// Type is a type of nft's, by the number that it goes by in set descriptions (nft's
// include/datatype.h).
type Type uint32

// Types, by the names that nft has for them.
const (
	NFProto Type = 2  // nf_proto
	IPv4    Type = 7  // ipv4_addr
	IPv6    Type = 8  // ipv6_addr
	Ether   Type = 9  // ether_addr
	INET    Type = 12 // inet_proto
	Port    Type = 13 // inet_service
	Mark    Type = 19 // mark, in host byte order
	Ifname  Type = 41 // ifname
)

// Size is the length of a value in bytes.
func (t Type) Size() int {
	switch t {
	case IPv4:
		return net.IPv4len
	case IPv6:
		return net.IPv6len
	case Ether:
		return 6
	case Mark:
		return 4
	case Port:
		return 2
	case Ifname:
		return unix.IFNAMSIZ
	}
	return 1
}

// Text is a value of at least that size in words, an interface name without quotes.
func (t Type) Text(v string) string {
	switch t {
	case Ifname:
		return strings.TrimRight(v, "\x00")
	case IPv4, IPv6:
		a, _ := netip.AddrFromSlice([]byte(v))
		return a.String()
	case Ether:
		return net.HardwareAddr(v).String()
	case Port:
		return strconv.Itoa(int(binary.BigEndian.Uint16([]byte(v))))
	case Mark:
		return strconv.FormatUint(uint64(binary.NativeEndian.Uint32([]byte(v))), 10)
	case INET:
		return string(Protocol(v[0]))
	}
	if v[0] == unix.NFPROTO_IPV4 {
		return "ipv4"
	}
	return "ipv6"
}

// Protocol is the inverse of model.Protocol.Number; empty for others.
func Protocol(number byte) model.Protocol {
	for _, p := range []model.Protocol{model.TCP, model.UDP, model.SCTP} {
		if p.Number() == number {
			return p
		}
	}
	return ""
}

// Magic is the number of a concatenation.
func Magic(types []Type) (magic uint32) {
	const bitsPerType = 6
	for _, t := range types {
		magic = magic<<bitsPerType | uint32(t)
	}
	return magic
}

// Length is the size of a concatenation in bytes. A part alone is not padded.
func Length(types []Type) (n uint32) {
	if len(types) == 1 {
		return uint32(types[0].Size())
	}
	for _, t := range types {
		n += uint32(align(t.Size()))
	}
	return n
}

// Split returns the parts of a concatenation, without padding. What is too short for its
// types comes as it is, as the last.
func Split(types []Type, value string) (parts []string) {
	for _, t := range types {
		if len(value) < t.Size() {
			return append(parts, value)
		}
		parts = append(parts, value[:t.Size()])
		value = value[min(align(t.Size()), len(value)):]
	}
	return parts
}

// Text is a concatenation in words: "tcp . 8080".
func Text(types []Type, value string) string {
	var words []string
	for i, part := range Split(types, value) {
		if len(part) != types[i].Size() {
			return fmt.Sprintf("%s %x", strings.Join(words, " . "), part)
		}
		words = append(words, types[i].Text(part))
	}
	return strings.Join(words, " . ")
}

// align rounds up to whole registers.
func align(n int) int { return (n + 3) &^ 3 }
