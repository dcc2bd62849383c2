package shape

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// Handles of ours, and where they hang (linux/pkt_sched.h).
const (
	rootHandle  uint32 = 0x6c730000
	childHandle uint32 = 0x6c740000
	childParent        = rootHandle | 1 // the one class of netem
	atRoot      uint32 = 0xffffffff
)

// Attributes of linux/rtnetlink.h and linux/pkt_sched.h.
const (
	tcaKind, tcaOptions                  = 1, 2
	tbfParms, tbfRate64, tbfBurst        = 1, 4, 6
	netemLatency64                       = 10
	headerLen                            = 20 // struct tcmsg
	tbfParmsLen, netemLen                = 36, 24
	linkEthernet                         = 1      // TC_LINKLAYER_ETHERNET
	queueTime                            = 50     // ms that a packet waits at the most for its turn
	netemQueue                           = 10_000 // packets that wait at a time: of up to 64 KB each, which others may send
	kindTBF, kindNetem                   = "tbf", "netem"
	million                       uint64 = 1_000_000
)

// qdisc is a queueing discipline, as far as it is ours.
type qdisc struct {
	kind           string
	handle, parent uint32
	// Of tbf: bytes a second, and how many bytes may wait.
	rate  uint64
	limit uint32
	burst uint32 // bytes; the kernel does not tell it back
	// Of netem.
	delay time.Duration
	loss  uint32 // of 2^32
}

// same compares what the kernel tells back.
func (q qdisc) same(o qdisc) bool {
	q.burst, o.burst = 0, 0
	return q == o
}

// wanted are the disciplines that a row means: netem delays and loses, tbf bounds; with both,
// packets are delayed first.
func wanted(row desired.Shape) (out []qdisc) {
	t := row.Traffic
	if t.Delay != 0 || t.Loss != 0 {
		loss := uint32(min(uint64(t.Loss)*math.MaxUint32/million, math.MaxUint32))
		out = append(out, qdisc{kind: kindNetem, handle: rootHandle, parent: atRoot, delay: t.Delay, loss: loss})
	}
	if t.Rate != 0 {
		rate := t.Rate / 8
		q := qdisc{kind: kindTBF, handle: rootHandle, parent: atRoot, rate: rate, burst: uint32(row.Burst)}
		q.limit = uint32(min(rate*queueTime/1000+uint64(row.Burst), math.MaxUint32))
		if len(out) > 0 {
			q.handle, q.parent = childHandle, childParent
		}
		out = append(out, q)
	}
	return out
}

// read returns the disciplines of a link that hang at its root, or are ours.
func read(c *rtnl.Conn, index int) (out []qdisc, err error) {
	msgs, err := c.Dump(rtnl.Request{Type: unix.RTM_GETQDISC, Header: header(index, 0, 0)})
	for _, msg := range msgs {
		at, q, parseErr := parse(msg)
		if parseErr != nil {
			return nil, parseErr
		}
		if at == index && (q.parent == atRoot && q.handle != 0 || q.handle == childHandle) {
			out = append(out, q)
		}
	}
	return out, err
}

// parse reads one discipline, and the link that it is at.
func parse(msg []byte) (index int, q qdisc, err error) {
	var options []byte
	var ok bool
	err = rtnl.Attributes(msg, headerLen, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case tcaKind:
			q.kind = ad.String()
		case tcaOptions:
			options = ad.Bytes()
		}
	})
	if err != nil {
		return 0, q, err
	}
	index = int(int32(binary.NativeEndian.Uint32(msg[4:])))
	q.handle, q.parent = binary.NativeEndian.Uint32(msg[8:]), binary.NativeEndian.Uint32(msg[12:])
	switch q.kind {
	case kindTBF:
		ok = q.readTBF(options)
	case kindNetem:
		ok = q.readNetem(options)
	default:
		ok = true
	}
	if !ok {
		return index, q, fmt.Errorf("the options of a %s cannot be read", q.kind)
	}
	return index, q, nil
}

// readTBF reads TCA_TBF_PARMS (struct tc_tbf_qopt) and TCA_TBF_RATE64.
func (q *qdisc) readTBF(options []byte) bool {
	ad, err := netlink.NewAttributeDecoder(options)
	if err != nil {
		return false
	}
	found := false
	for ad.Next() {
		switch ad.Type() {
		case tbfParms:
			if b := ad.Bytes(); len(b) >= tbfParmsLen {
				found = true
				q.limit = binary.NativeEndian.Uint32(b[24:])
				if q.rate == 0 {
					q.rate = uint64(binary.NativeEndian.Uint32(b[8:]))
				}
			}
		case tbfRate64:
			q.rate = ad.Uint64()
		}
	}
	return found && ad.Err() == nil
}

// readNetem reads struct tc_netem_qopt and TCA_NETEM_LATENCY64.
func (q *qdisc) readNetem(options []byte) bool {
	if len(options) < netemLen {
		return false
	}
	q.loss = binary.NativeEndian.Uint32(options[8:])
	ad, err := netlink.NewAttributeDecoder(options[netemLen:])
	if err != nil {
		return false
	}
	for ad.Next() {
		if ad.Type() == netemLatency64 {
			q.delay = time.Duration(ad.Uint64())
		}
	}
	return ad.Err() == nil
}

// write makes one discipline, or changes that which is there with its handle.
func write(c *rtnl.Conn, index int, q qdisc) error {
	err := c.Change(rtnl.Request{
		Type: unix.RTM_NEWQDISC, Flags: netlink.Create | netlink.Replace, Header: header(index, q.handle, q.parent),
		Attrs: func(ae *netlink.AttributeEncoder) {
			ae.String(tcaKind, q.kind)
			if q.kind == kindTBF {
				ae.Nested(tcaOptions, q.tbf)
				return
			}
			ae.Bytes(tcaOptions, q.netem())
		},
	})
	if errors.Is(err, unix.ENOENT) {
		return lacking(q.kind)
	}
	return err
}

// lacking says that the kernel does not know a discipline.
func lacking(kind string) error {
	what := "com.linkspan.rate needs it"
	if kind == kindNetem {
		what = "com.linkspan.delay and com.linkspan.loss need it"
	}
	return &model.Error{Kind: model.NotImplemented, Err: fmt.Errorf("this kernel has no sch_%s: %s", kind, what),
		Way: fmt.Sprintf("load the module (modprobe sch_%s), use a kernel that has it, or leave the option out", kind)}
}

// tbf are the attributes of tc-tbf(8). The kernel takes a rate of more than 32 bits beside
// the others.
func (q qdisc) tbf(ae *netlink.AttributeEncoder) error {
	parms := make([]byte, tbfParmsLen)
	parms[1] = linkEthernet
	binary.NativeEndian.PutUint32(parms[8:], uint32(min(q.rate, math.MaxUint32)))
	binary.NativeEndian.PutUint32(parms[24:], q.limit)
	ae.Bytes(tbfParms, parms)
	ae.Uint32(tbfBurst, q.burst)
	if q.rate >= math.MaxUint32 {
		ae.Uint64(tbfRate64, q.rate)
	}
	return nil
}

// netem are the options of tc-netem(8): a struct, and what it has no room for behind it.
func (q qdisc) netem() []byte {
	b := make([]byte, netemLen)
	binary.NativeEndian.PutUint32(b[4:], netemQueue)
	binary.NativeEndian.PutUint32(b[8:], q.loss)
	ae := netlink.NewAttributeEncoder()
	ae.Uint64(netemLatency64, uint64(q.delay))
	more, err := ae.Encode()
	if err != nil { // a number always has an encoding
		return b
	}
	return append(b, more...)
}

// remove takes away what is ours at the root of a link, and what hangs on it.
func remove(c *rtnl.Conn, index int) error {
	err := c.Change(rtnl.Request{Type: unix.RTM_DELQDISC, Header: header(index, rootHandle, atRoot)})
	for _, missing := range []error{unix.ENOENT, unix.EINVAL, unix.ENODEV} {
		if errors.Is(err, missing) {
			return nil
		}
	}
	return err
}

// header is a struct tcmsg.
func header(index int, handle, parent uint32) []byte {
	b := make([]byte, headerLen)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], handle)
	binary.NativeEndian.PutUint32(b[12:], parent)
	return b
}
