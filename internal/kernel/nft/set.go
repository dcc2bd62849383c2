package nft

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// datatype is a type of nft's, by the number that it goes by in set
// descriptions (nft's include/datatype.h).
type datatype uint32

const (
	typeNFProto   datatype = 2
	typeIPv4      datatype = 7
	typeIPv6      datatype = 8
	typeEther     datatype = 9
	typeTransport datatype = 12 // inet_proto
	typePort      datatype = 13 // inet_service
	typeIfname    datatype = 41
)

// size is the length of a value in bytes.
func (t datatype) size() int {
	switch t {
	case typeIPv4:
		return net.IPv4len
	case typeIPv6:
		return net.IPv6len
	case typeEther:
		return 6
	case typePort:
		return 2
	case typeIfname:
		return unix.IFNAMSIZ
	}
	return 1
}

// set is a named set, or a map if its elements lead to data.
type set struct {
	name     string
	comment  string
	key      []datatype // concatenated
	data     []datatype // concatenated; of a map
	interval bool       // elements are ranges of keys
	counted  bool       // each element counts the packets that were found in it
	deny     bool       // an element forbids: added before, and removed after, those that allow
	learned  bool       // the kernel adds elements as packets pass: they are nobody's rows
	timeout  bool       // elements go by themselves
}

// ranged tells whether elements are ranges of concatenations, which the kernel
// keeps otherwise than ranges of plain values: both ends in one element.
func (s set) ranged() bool { return s.interval && len(s.key) > 1 }

func magic(types []datatype) (magic uint32) {
	const bitsPerType = 6
	for _, t := range types {
		magic = magic<<bitsPerType | uint32(t)
	}
	return magic
}

// length is the size of a concatenation in bytes. Its parts fill whole 32-bit
// registers; a part alone is not padded.
func length(types []datatype) (n uint32) {
	if len(types) == 1 {
		return uint32(types[0].size())
	}
	for _, t := range types {
		n += uint32(align(t.size()))
	}
	return n
}

func (s set) flags() (flags uint32) {
	if s.interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.ranged() {
		flags |= setConcat
	}
	if s.data != nil {
		flags |= unix.NFT_SET_MAP
	}
	if s.learned {
		flags |= unix.NFT_SET_EVAL
	}
	if s.timeout {
		flags |= unix.NFT_SET_TIMEOUT
	}
	return flags
}

// text prints an element of the set as nft does, for drift reports and goldens.
func (s set) text(e element) string {
	out := valueText(s.key, e.key)
	switch {
	case s.ranged() && e.last != e.key:
		out += " to " + valueText(s.key, e.last)
	case s.interval && !s.ranged():
		out += " up to " + valueText(s.key, e.after)
	}
	if s.data != nil {
		out += " : " + valueText(s.data, e.data)
	}
	return out
}

func valueText(types []datatype, value string) string {
	var parts []string
	for _, t := range types {
		if len(value) < t.size() {
			return fmt.Sprintf("%s %x", strings.Join(parts, " . "), value)
		}
		parts = append(parts, t.text(value[:t.size()]))
		value = value[min(align(t.size()), len(value)):]
	}
	return strings.Join(parts, " . ")
}

func (t datatype) text(v string) string {
	switch t {
	case typeIfname:
		return strings.TrimRight(v, "\x00")
	case typeIPv4, typeIPv6:
		a, _ := netip.AddrFromSlice([]byte(v))
		return a.String()
	case typeEther:
		return net.HardwareAddr(v).String()
	case typePort:
		return strconv.Itoa(int(binary.BigEndian.Uint16([]byte(v))))
	case typeTransport:
		return string(protocolOf(v[0]))
	}
	if v[0] == unix.NFPROTO_IPV4 {
		return "ipv4"
	}
	return "ipv6"
}
