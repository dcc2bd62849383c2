package nft

import (
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/datatypes"
)

// datatype is the type of a key, or of a part of it.
type datatype = datatypes.Type

const (
	typeNFProto   = datatypes.NFProto
	typeIPv4      = datatypes.IPv4
	typeIPv6      = datatypes.IPv6
	typeEther     = datatypes.Ether
	typeTransport = datatypes.INET
	typePort      = datatypes.Port
	typeIfname    = datatypes.Ifname
)

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
	out := datatypes.Text(s.key, e.key)
	switch {
	case s.ranged() && e.last != e.key:
		out += " to " + datatypes.Text(s.key, e.last)
	case s.interval && !s.ranged():
		out += " up to " + datatypes.Text(s.key, e.after)
	}
	if s.data != nil {
		out += " : " + datatypes.Text(s.data, e.data)
	}
	return out
}
