// Package meter reads what the network interfaces of a namespace have counted, for
// somebody who watches.
//
//	namespace ─▶ Meter.Links ─▶ []facts.LinkTraffic
//
// It changes nothing, keeps nothing, and reads nothing while nobody asks.
package meter

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// Meter reads counters in the namespaces of a directory. Its methods may be called
// concurrently.
type Meter struct{ dir *netns.Dir }

// New returns a meter for the namespaces of dir.
func New(dir *netns.Dir) *Meter { return &Meter{dir} }

// Links returns the counters of all interfaces of a namespace, by its name below
// /run/netns; the empty name is the host's. The error is fs.ErrNotExist if there is no such
// namespace.
func (m *Meter) Links(ctx context.Context, namespace string) (out []facts.LinkTraffic, err error) {
	var unused atomic.Int64 // nothing is written
	var conn *rtnl.Conn
	err = m.dir.Do(ctx, namespace, func() (err error) {
		conn, err = rtnl.Open(&unused)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read counters of interfaces: %w", err)
	}
	defer conn.Close()
	msgs, err := conn.Dump(rtnl.Request{Type: unix.RTM_GETLINK, Header: make([]byte, unix.SizeofIfInfomsg)})
	for _, msg := range msgs {
		t, parseErr := parse(msg)
		if parseErr != nil {
			return nil, parseErr
		}
		if t.Link != "" {
			out = append(out, t)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read counters of interfaces: %w", err)
	}
	return out, nil
}

// parse reads the name and struct rtnl_link_stats64 (linux/if_link.h) of a link.
func parse(msg []byte) (t facts.LinkTraffic, err error) {
	const receivedPackets, sentPackets, receivedBytes, sentBytes, fields = 0, 1, 2, 3, 4
	err = rtnl.Attributes(msg, unix.SizeofIfInfomsg, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			t.Link = strings.TrimRight(ad.String(), "\x00")
		case unix.IFLA_STATS64:
			b := ad.Bytes()
			if len(b) < fields*8 {
				return
			}
			field := func(i int) uint64 { return binary.NativeEndian.Uint64(b[i*8:]) }
			t.Received = facts.Counter{Bytes: field(receivedBytes), Packets: field(receivedPackets)}
			t.Sent = facts.Counter{Bytes: field(sentBytes), Packets: field(sentPackets)}
		}
	})
	return t, err
}
