package rtnl

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
)

// message is a netlink message on the wire.
func message(kind, flags uint16, seq uint32, payload ...byte) []byte {
	b := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(payload))
	b = append(b, payload...)
	binary.NativeEndian.PutUint32(b[0:], uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], flags)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return b
}

func number(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

func TestWalk(t *testing.T) {
	object := message(unix.RTM_NEWLINK, unix.NLM_F_MULTI, 7, 1, 2, 3, 4)
	for _, c := range []struct {
		name    string
		in      []byte
		objects int
		done    bool
		err     error
	}{
		{"nothing", nil, 0, false, nil},
		{"two objects", append(append([]byte{}, object...), object...), 2, false, nil},
		{"an object and the end", append(append([]byte{}, object...), message(unix.NLMSG_DONE, 0, 7, number(0)...)...), 1, true, nil},
		{"an acknowledgement", message(unix.NLMSG_ERROR, 0, 7, number(0)...), 0, true, nil},
		{"a refusal", message(unix.NLMSG_ERROR, 0, 7, number(-17)...), 0, true, unix.EEXIST},
		{"a dump that fails at its end", message(unix.NLMSG_DONE, 0, 7, number(-11)...), 0, true, unix.EAGAIN},
		{"a late answer to an earlier request", message(unix.NLMSG_ERROR, 0, 6, number(-17)...), 0, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects := 0
			done, err := walk(c.in, 7, func(netlink.Header, []byte) { objects++ })
			if objects != c.objects || done != c.done || !errors.Is(err, c.err) {
				t.Errorf("%d objects, done %t, error %v", objects, done, err)
			}
		})
	}
}

func TestWalkRefusesNonsense(t *testing.T) {
	long := message(unix.RTM_NEWLINK, 0, 7)
	long[0] = 200
	for _, in := range [][]byte{{1, 2, 3}, long, make([]byte, unix.NLMSG_HDRLEN)} {
		if _, err := walk(in, 7, func(netlink.Header, []byte) { t.Error("an object") }); err == nil {
			t.Errorf("% x is accepted", in)
		}
	}
}

func FuzzWalk(f *testing.F) {
	f.Add(message(unix.RTM_NEWLINK, 2, 7, 8, 0, 1, 0, 1, 2, 3, 4))
	f.Add(message(unix.NLMSG_ERROR, 0x200, 7, append(number(-22), make([]byte, 32)...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		walk(b, 7, func(_ netlink.Header, m []byte) {
			Attributes(m, 4, func(ad *netlink.AttributeDecoder) { ad.Bytes() })
		})
	})
}

// TestConn talks to the kernel: an object, a table, a refusal in its own words.
func TestConn(t *testing.T) {
	host := kerneltest.New(t)
	host.Do(t, func() {
		var writes atomic.Int64
		c, err := Open(&writes)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		header := make([]byte, unix.SizeofIfInfomsg)
		name := func(name string) func(*netlink.AttributeEncoder) {
			return func(ae *netlink.AttributeEncoder) { ae.String(unix.IFLA_IFNAME, name) }
		}
		if _, err := c.Get(Request{Type: unix.RTM_GETLINK, Header: header, Attrs: name("lo")}); err != nil {
			t.Errorf("get lo: %v", err)
		}
		if _, err := c.Get(Request{Type: unix.RTM_GETLINK, Header: header, Attrs: name("none")}); !errors.Is(err, unix.ENODEV) {
			t.Errorf("get none: %v", err)
		}
		if all, err := c.Dump(Request{Type: unix.RTM_GETLINK, Header: header}); err != nil || len(all) == 0 {
			t.Errorf("dump: %d links, %v", len(all), err)
		}
		err = c.Change(Request{Type: unix.RTM_NEWROUTE, Flags: netlink.Create, Header: []byte{unix.AF_INET, 99, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0}})
		if !errors.Is(err, unix.EINVAL) || !strings.HasPrefix(err.Error(), "invalid argument: ") || writes.Load() != 0 {
			t.Errorf("a bad route: %v, %d writes", err, writes.Load())
		}
		if err := c.Change(Request{Type: unix.RTM_SETLINK, Header: header, Attrs: func(ae *netlink.AttributeEncoder) {
			name("lo")(ae)
			ae.Uint32(unix.IFLA_MTU, 1500)
		}}); err != nil || writes.Load() != 1 {
			t.Errorf("a change: %v, %d writes", err, writes.Load())
		}
	})
}
