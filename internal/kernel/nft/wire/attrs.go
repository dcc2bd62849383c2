package wire

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Attrs is a run of netlink attributes, each padded to four bytes.
type Attrs []byte

// Bytes adds an attribute of any kind.
func (a Attrs) Bytes(typ uint16, v []byte) Attrs {
	a = binary.NativeEndian.AppendUint16(a, uint16(4+len(v)))
	a = binary.NativeEndian.AppendUint16(a, typ)
	a = append(a, v...)
	return append(a, make([]byte, align(len(v))-len(v))...)
}

// Nest adds an attribute that holds others.
func (a Attrs) Nest(typ uint16, inner Attrs) Attrs { return a.Bytes(typ|unix.NLA_F_NESTED, inner) }

// Str adds a string, with the zero that ends it.
func (a Attrs) Str(typ uint16, s string) Attrs { return a.Bytes(typ, append([]byte(s), 0)) }

// U32 adds a number, in network byte order.
func (a Attrs) U32(typ uint16, v uint32) Attrs {
	return a.Bytes(typ, binary.BigEndian.AppendUint32(nil, v))
}
