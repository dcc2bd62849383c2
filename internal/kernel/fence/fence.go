// Package fence keeps packets at a bridge by classic BPF classifiers at its
// traffic-control hooks (tc-bpf(8)), so that what must not pass does not pass even
// while the firewall's tables are gone.
//
//	host's stack ◀─ ingress ─ bridge      what the network says to the host
//	host's stack ── egress ─▶ bridge      what the host says to the network, or routes there
//
// It must not decide anything, and it keeps no state: the programs follow from the row,
// and the kernel tells them back byte by byte.
//
// Ours: the filters of priority Priority with the handle Handle, at bridges that rows
// name. The qdisc clsact that holds them may be anybody's.
//
// What has gone wrong here: where br_netfilter is on, connection tracking gives an
// answer its true destination before the bridge hands it over, so that an honest
// answer for the host's 127.0.0.1 looks like a forged packet (desired.AnswerMark).
package fence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// By these our filters are known.
const (
	Priority uint16 = 0x6c
	Handle   uint32 = 0x6c73
)

// ErrUnsupported says that the kernel has no classifiers (sch_clsact, cls_bpf).
var ErrUnsupported = errors.New("this kernel has no classifiers for bridges (sch_clsact, cls_bpf)")

// Places of linux/pkt_sched.h: the qdisc at both hooks, and the hooks.
const (
	clsactHandle uint32 = 0xffff0000
	clsactParent uint32 = 0xfffffff1
	ingress      uint32 = 0xfffffff2
	egress       uint32 = 0xfffffff3
)

// Attributes of linux/rtnetlink.h and linux/pkt_cls.h.
const (
	tcaKind, tcaOptions            = 1, 2
	tcaBPFOpsLen, tcaBPFOps        = 4, 5
	tcaBPFFlags                    = 8
	actDirect               uint32 = 1
)

// headerLen is the size of struct tcmsg.
const headerLen = 20

// Put makes the filters at the bridge with that index as the row says, and returns
// ErrUnsupported where the kernel cannot. What is there as wanted is not written.
func Put(c *rtnl.Conn, index int, row desired.Fence) error {
	in, out := programs(row)
	for _, h := range []struct {
		hook    uint32
		program []unix.SockFilter
	}{{ingress, in}, {egress, out}} {
		have, err := read(c, index, h.hook)
		switch {
		case err != nil:
			return err
		case slices.Equal(have, h.program):
			continue
		case len(h.program) == 0:
			err = remove(c, index, h.hook)
		default:
			err = add(c, index, h.hook, h.program)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Drift says what is not as the row wants; empty if nothing is.
func Drift(c *rtnl.Conn, index int, row desired.Fence) (string, error) {
	in, out := programs(row)
	haveIn, err := read(c, index, ingress)
	if err != nil {
		return "", err
	}
	haveOut, err := read(c, index, egress)
	switch {
	case err != nil:
		return "", err
	case len(haveIn)+len(haveOut) == 0:
		return "missing", nil
	case !slices.Equal(haveIn, in):
		return "another program on the way to the host", nil
	case !slices.Equal(haveOut, out):
		return "another program on the way from the host", nil
	}
	return "", nil
}

// Delete removes the filters of the bridge with that index, and the qdisc if nobody
// has any other.
func Delete(c *rtnl.Conn, index int) error {
	others := false
	for _, hook := range []uint32{ingress, egress} {
		if err := remove(c, index, hook); err != nil {
			return err
		}
		all, err := dump(c, index, hook)
		if err != nil {
			return err
		}
		others = others || len(all) > 0
	}
	if others {
		return nil
	}
	return gone(c.Change(rtnl.Request{Type: unix.RTM_DELQDISC, Header: header(index, clsactHandle, clsactParent, 0)}))
}

func add(c *rtnl.Conn, index int, hook uint32, program []unix.SockFilter) error {
	err := c.Change(rtnl.Request{
		Type: unix.RTM_NEWQDISC, Flags: netlink.Create | netlink.Excl, Header: header(index, clsactHandle, clsactParent, 0),
		Attrs: func(ae *netlink.AttributeEncoder) { ae.String(tcaKind, "clsact") },
	})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return unsupported(err)
	}
	return unsupported(c.Change(rtnl.Request{
		Type: unix.RTM_NEWTFILTER, Flags: netlink.Create, Header: header(index, Handle, hook, info()),
		Attrs: func(ae *netlink.AttributeEncoder) {
			ae.String(tcaKind, "bpf")
			ae.Nested(tcaOptions, func(o *netlink.AttributeEncoder) error {
				o.Uint16(tcaBPFOpsLen, uint16(len(program)))
				o.Bytes(tcaBPFOps, encode(program))
				o.Uint32(tcaBPFFlags, actDirect)
				return nil
			})
		},
	}))
}

// unsupported tells a kernel that lacks the means from one that refuses.
func unsupported(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return err
}

func remove(c *rtnl.Conn, index int, hook uint32) error {
	return gone(c.Change(rtnl.Request{
		Type: unix.RTM_DELTFILTER, Header: header(index, Handle, hook, info()),
		Attrs: func(ae *netlink.AttributeEncoder) { ae.String(tcaKind, "bpf") },
	}))
}

// gone makes removal of what is missing a success. The kernel says EINVAL where there
// is no qdisc, ENOENT where there is no filter.
func gone(err error) error {
	for _, missing := range []error{unix.ENOENT, unix.EINVAL, unix.ENODEV} {
		if errors.Is(err, missing) {
			return nil
		}
	}
	return err
}

// filter is one of a bridge's, as the kernel tells it.
type filter struct {
	handle, info uint32
	kind         string
	program      []unix.SockFilter
	direct       bool
}

// read returns our program at a hook; nil if there is none.
func read(c *rtnl.Conn, index int, hook uint32) ([]unix.SockFilter, error) {
	all, err := dump(c, index, hook)
	for _, f := range all {
		if f.handle == Handle && f.info == info() && f.kind == "bpf" && f.direct {
			return f.program, err
		}
	}
	return nil, err
}

// dump returns the filters at a hook. A chain of them begins with a message that has
// no handle.
func dump(c *rtnl.Conn, index int, hook uint32) ([]filter, error) {
	msgs, err := c.Dump(rtnl.Request{Type: unix.RTM_GETTFILTER, Header: header(index, 0, hook, 0)})
	if err != nil {
		return nil, gone(err)
	}
	var out []filter
	for _, msg := range msgs {
		f, err := parse(msg)
		if err != nil {
			return nil, err
		}
		if f.handle != 0 {
			out = append(out, f)
		}
	}
	return out, nil
}

func parse(msg []byte) (filter, error) {
	var f filter
	err := rtnl.Attributes(msg, headerLen, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case tcaKind:
			f.kind = ad.String()
		case tcaOptions:
			if f.kind == "bpf" { // which comes first
				ad.Nested(f.options)
			}
		}
	})
	if err != nil {
		return filter{}, err
	}
	f.handle, f.info = binary.NativeEndian.Uint32(msg[8:]), binary.NativeEndian.Uint32(msg[16:])
	return f, nil
}

func (f *filter) options(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case tcaBPFOps:
			f.program = decode(ad.Bytes())
		case tcaBPFFlags:
			f.direct = ad.Uint32()&actDirect != 0
		}
	}
	return ad.Err()
}

// header is a struct tcmsg.
func header(index int, handle, parent, info uint32) []byte {
	b := make([]byte, headerLen)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], handle)
	binary.NativeEndian.PutUint32(b[12:], parent)
	binary.NativeEndian.PutUint32(b[16:], info)
	return b
}

// info is our priority and the protocols that our filters see: all (in network byte
// order).
func info() uint32 {
	all := binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)
	return uint32(Priority)<<16 | uint32(binary.NativeEndian.Uint16(all))
}

const instructionLen = 8 // of struct sock_filter

// encode is a program as an array of struct sock_filter.
func encode(program []unix.SockFilter) []byte {
	b := make([]byte, 0, len(program)*instructionLen)
	for _, i := range program {
		b = append(binary.NativeEndian.AppendUint16(b, i.Code), i.Jt, i.Jf)
		b = binary.NativeEndian.AppendUint32(b, i.K)
	}
	return b
}

// decode is the inverse of encode; half an instruction at the end is left out.
func decode(b []byte) []unix.SockFilter {
	var out []unix.SockFilter
	for ; len(b) >= instructionLen; b = b[instructionLen:] {
		out = append(out, unix.SockFilter{Code: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:])})
	}
	return out
}
