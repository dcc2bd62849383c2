package firewalltest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
)

// LocalhostServiceIsClosed looks for frames from outside and from containers
// that get to a service of the host that listens on 127.0.0.1 alone, with every
// interface routing localhost.
func LocalhostServiceIsClosed(t *testing.T, backend Backend) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			l := NewLab(t, bridgeNetfilter)
			var service net.PacketConn
			l.Host.Do(func() (err error) {
				service, err = net.ListenPacket("udp", "127.0.0.1:9999")
				return err
			})
			defer service.Close()
			frames := func(id int) {
				for _, from := range []string{"a1", "b1", "manual", "out"} {
					l.Send(from, visit{from: from, ip: "127.0.0.1", port: 9999}.to("", from, 0).frame(id))
					l.Send(from, visit{from: from, ip: "127.0.0.1", port: 9999, src: "127.0.0.1"}.to("", from, 0).frame(id))
				}
			}
			frames(1) // without a firewall they get there: the test would notice
			if n := datagrams(t, service, l.Host); n == 0 {
				t.Skip("this kernel does not let them through in the first place")
			}
			backend.Resync(t, l.Host, Rows(false)...)
			frames(2)
			if n := datagrams(t, service, l.Host); n != 0 {
				t.Errorf("%d datagrams got to the host's 127.0.0.1", n)
			}
		})
	}
}

// LocalhostStaysClosedWithoutRules: the host's 127.0.0.1 is out of reach of those on
// a bridge that routes localhost, also while there is no table of ours, in and under
// VLAN tags (those of VLAN 0 are for everybody), and with br_netfilter.
func LocalhostStaysClosedWithoutRules(t *testing.T, backend Backend) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			l := NewLab(t, bridgeNetfilter)
			l.Host.Sysctl("net/ipv4/conf/all/route_localnet", "0")
			l.Host.Sysctl("net/ipv4/conf/br-a/route_localnet", "1")
			var service net.PacketConn
			l.Host.Do(func() (err error) {
				service, err = net.ListenPacket("udp", "127.0.0.1:9999")
				return err
			})
			defer service.Close()
			send := func(id int) {
				for _, from := range []string{"a1", "manual", "dead"} {
					for _, src := range []string{"", "127.0.0.1", "127.1.2.3"} {
						plain := visit{from: from, ip: "127.0.0.1", port: 9999, src: src}.to("", from, 0).frame(id)
						once := frames.Ether(PlaceOf(from).GatewayMAC(), PlaceOf(from).MAC, frames.VLAN, []byte{0, 0}, plain[12:])
						twice := frames.Ether(PlaceOf(from).GatewayMAC(), PlaceOf(from).MAC, frames.VLAN, []byte{0, 0}, once[12:])
						for _, frame := range [][]byte{plain, once, twice} {
							l.Send(from, frame)
						}
					}
				}
			}
			send(1)
			if n := datagrams(t, service, l.Host); n == 0 {
				t.Fatal("nothing gets there in the first place: the test would not notice")
			}
			l.Host.Fence(desired.Fence{Link: "br-a", Localhost: true})
			send(2)
			if n := datagrams(t, service, l.Host); n != 0 {
				t.Errorf("%d datagrams got to the host's 127.0.0.1", n)
			}
		})
	}
}

// InternalStaysClosedWithoutRules: nothing leaves an internal network, or enters
// it, while there is no table of ours. Its own containers and the host go on.
func InternalStaysClosedWithoutRules(t *testing.T, backend Backend) {
	l := NewLab(t, false)
	l.Host.Fence(desired.Fence{Link: "br-i", Inside: []netip.Prefix{prefix("10.3.0.0/24"), prefix("fd03::/64")}})
	closed := slices.Concat(
		udpTrials("out", "i1", "out", false), udpTrials("to another network", "i1", "a1", false),
		udpTrials("in", "out", "i1", false), udpTrials("from another network", "a1", "i1", false))
	for id, c := range closed {
		l.Send(c.from, c.frame(id))
	}
	for id, c := range slices.Concat(udpTrials("fence", "i1", "i2", true), udpTrials("fence", "a1", "out", true), udpTrials("fence", "out", "b1", true)) {
		id += len(closed)
		l.Send(c.from, c.frame(id))
		if l.Arrives(id, c.to) == nil {
			t.Errorf("%s: %s to %s: lost", c.name, c.from, c.to)
		}
	}
	for id, c := range closed {
		if l.Seen(id, c.to) != nil {
			t.Errorf("%s: %s reached %s", c.name, c.from, c.to)
		}
	}
}

// datagrams counts what arrived before a datagram of the host's own.
func datagrams(t *testing.T, service net.PacketConn, host *namespaces.Namespace) (n int) {
	t.Helper()
	host.Do(func() error {
		c, err := net.Dial("udp", "127.0.0.1:9999")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("fence"))
		return err
	})
	_ = service.SetReadDeadline(time.Now().Add(5 * time.Second)) // a UDP socket takes any
	b := make([]byte, 100)
	for {
		size, _, err := service.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		if string(b[:size]) == "fence" {
			return n
		}
		n++
	}
}
