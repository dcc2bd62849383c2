package link

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// BridgeTraffic reads the counters of the bridges of a namespace, and asks for bridges
// alone: a host has few of them and many ports.
func BridgeTraffic(c *rtnl.Conn) ([]facts.BridgeTraffic, error) {
	msgs, err := c.Dump(rtnl.Request{Type: unix.RTM_GETLINK, Header: make([]byte, unix.SizeofIfInfomsg), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, string(desired.LinkBridge))
			return nil
		})
	}})
	if err != nil {
		return nil, fmt.Errorf("read traffic of bridges: %w", err)
	}
	var out []facts.BridgeTraffic
	for _, msg := range msgs {
		t, err := parseTraffic(msg)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// parseTraffic reads a link's struct rtnl_link_stats64. What a bridge receives
// comes from its containers, what it transmits goes to them.
func parseTraffic(msg []byte) (t facts.BridgeTraffic, err error) {
	const received, sent, receivedBytes, sentBytes, receiveDropped, sendDropped, fields = 0, 1, 2, 3, 6, 7, 8
	err = rtnl.Attributes(msg, unix.SizeofIfInfomsg, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			t.Bridge = strings.TrimRight(ad.String(), "\x00")
		case unix.IFLA_STATS64:
			b := ad.Bytes()
			if len(b) < fields*8 {
				return
			}
			field := func(i int) uint64 { return binary.NativeEndian.Uint64(b[i*8:]) }
			t.OutPackets, t.OutBytes, t.OutDropped = field(received), field(receivedBytes), field(receiveDropped)
			t.InPackets, t.InBytes, t.InDropped = field(sent), field(sentBytes), field(sendDropped)
		}
	})
	return t, err
}
