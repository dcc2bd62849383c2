// Package published holds the tests of published ports that every firewall backend must
// pass: connections between real stacks, by every way in.
//
// It must never be imported outside tests.
package published

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/model"
)

// Host is a host with one container, "web", and another machine, all with real
// stacks. web answers on port 80 with the address that it sees.
type Host struct {
	Host, Web, Out *namespaces.Namespace
	Firewall       kernel.Firewall
}

// NewHost opens a backend that has Rows and more.
func NewHost(t testing.TB, backend firewalltest.Backend, bridgeNetfilter bool, rows ...desired.Row) *Host {
	t.Helper()
	s := &Host{Host: namespaces.New(t), Web: namespaces.New(t), Out: namespaces.New(t)}
	s.Host.Sysctl("net/ipv4/ip_forward", "1")
	s.Host.Sysctl("net/ipv6/conf/all/forwarding", "1")
	call := map[bool]string{false: "0", true: "1"}[bridgeNetfilter]
	s.Host.Sysctl("net/bridge/bridge-nf-call-iptables", call)
	s.Host.Sysctl("net/bridge/bridge-nf-call-ip6tables", call)
	s.Host.Bridge("br-a", "02:00:00:00:00:0a", "10.1.0.1/24", "fd01::1/64")
	namespaces.Cable(namespaces.End{In: s.Host, Name: "va1", MAC: "02:00:00:00:00:0b"}, namespaces.End{In: s.Web, Name: "eth0", MAC: "02:00:00:00:0a:01"})
	s.Host.Enslave("va1", "br-a", desired.PortGroup)
	s.Host.Port("va1")
	s.Web.Address("eth0", "10.1.0.11/24", "fd01::11/64")
	s.Web.Route("10.1.0.1", "fd01::1")
	namespaces.Cable(namespaces.End{In: s.Host, Name: "eth0", MAC: firewalltest.UplinkMAC}, namespaces.End{In: s.Out, Name: "eth0", MAC: "02:00:00:00:ff:02"})
	s.Host.Address("eth0", "192.0.2.1/24", "2001:db8::1/64")
	s.Out.Address("eth0", "192.0.2.2/24", "2001:db8::2/64")
	s.Firewall = backend.Resync(t, s.Host, append(Rows(), rows...)...)
	s.Host.Fence(desired.Fence{Link: "br-a", Localhost: true})
	s.Host.Sysctl("net/ipv4/conf/br-a/route_localnet", "1")
	s.serve(t)
	return s
}

// Rows are the policy of the network of "web", without ports.
func Rows() []desired.Row {
	return []desired.Row{
		desired.BridgePolicy{Bridge: "br-a", ICC: true},
		desired.Masquerade{Bridge: "br-a", Subnet: netip.MustParsePrefix("10.1.0.0/24")},
		desired.Masquerade{Bridge: "br-a", Subnet: netip.MustParsePrefix("fd01::/64")},
		desired.PortSecurity{Port: "va1", Bridge: "br-a", MAC: "02:00:00:00:0a:01", Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.11"), netip.MustParseAddr("fd01::11")}},
	}
}

func (s *Host) serve(t testing.TB) {
	t.Helper()
	greet(s.Web.Listen(":80"), "")
}

// greet tells each client its address, until the listener is closed.
func greet(l net.Listener, greeting string) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			peer := netip.MustParseAddrPort(c.RemoteAddr().String()).Addr().Unmap()
			_, _ = io.WriteString(c, greeting+peer.String()) // a client that is gone hears nothing
			c.Close()
		}
	}()
}

const (
	enough = 5 * time.Second
	brief  = 300 * time.Millisecond // to be sure that nobody answers
)

// Ports publish ports of "web" in both families and every form.
func Ports() []desired.Row {
	return []desired.Row{
		firewalltest.Publish(model.TCP, "0.0.0.0", [2]uint16{8080, 8080}, "10.1.0.11", 80),
		firewalltest.Publish(model.TCP, "::", [2]uint16{8080, 8080}, "fd01::11", 80),
		firewalltest.Publish(model.TCP, "127.0.0.1", [2]uint16{8082, 8082}, "10.1.0.11", 80),
		firewalltest.Publish(model.TCP, firewalltest.Uplink4, [2]uint16{8083, 8083}, "10.1.0.11", 80),
		firewalltest.Publish(model.TCP, firewalltest.Uplink6, [2]uint16{8083, 8083}, "fd01::11", 80),
		firewalltest.Publish(model.TCP, "0.0.0.0", [2]uint16{78, 82}, "10.1.0.11", 78),
		firewalltest.Publish(model.TCP, "::", [2]uint16{78, 82}, "fd01::11", 78),
		firewalltest.Publish(model.TCP, firewalltest.Uplink4, [2]uint16{9000, 9010}, "10.1.0.11", 75),
	}
}

// WaysIn connects to published ports from everywhere, and looks at who the
// service thinks is there.
func WaysIn(t *testing.T, backend firewalltest.Backend) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			s := NewHost(t, backend, bridgeNetfilter, Ports()...)
			greet(s.Host.Listen("[::1]:8080"), "forwarder ") // of user space
			for _, c := range []struct {
				from    *namespaces.Namespace
				to, saw string
			}{
				{s.Out, "192.0.2.1:8080", "192.0.2.2"},
				{s.Out, "[2001:db8::1]:8080", "2001:db8::2"},
				{s.Out, "192.0.2.1:8083", "192.0.2.2"},
				{s.Out, "[2001:db8::1]:8083", "2001:db8::2"},
				{s.Out, "192.0.2.1:80", "192.0.2.2"},
				{s.Out, "[2001:db8::1]:80", "2001:db8::2"},
				{s.Out, "192.0.2.1:9005", "192.0.2.2"},
				{s.Out, "192.0.2.1:9006", ""}, // port 81 in the container, where nobody listens
				{s.Out, "192.0.2.1:8082", ""}, // published on 127.0.0.1
				{s.Out, "192.0.2.1:8081", ""}, // not published
				{s.Host, "127.0.0.1:8080", "10.1.0.1"},
				{s.Host, "127.9.9.9:8080", "10.1.0.1"},
				{s.Host, "127.0.0.1:8082", "10.1.0.1"},
				{s.Host, "127.0.0.1:80", "10.1.0.1"},
				{s.Host, "127.0.0.1:8083", ""},
				{s.Host, "192.0.2.1:8080", "192.0.2.1"},
				{s.Host, "10.1.0.1:8080", "10.1.0.1"},
				{s.Host, "[2001:db8::1]:8080", "2001:db8::1"},
				{s.Host, "[fd01::1]:8080", "fd01::1"},
				{s.Host, "[::1]:8080", "forwarder ::1"},
				{s.Web, "192.0.2.1:8080", "10.1.0.1"}, // itself
				{s.Web, "10.1.0.1:8080", "10.1.0.1"},
				{s.Web, "[2001:db8::1]:8080", "fd01::1"},
				{s.Web, "192.0.2.1:8082", ""},
			} {
				patience := enough
				if c.saw == "" {
					patience = brief
				}
				if got := c.from.Ask(c.to, patience); got != c.saw {
					t.Errorf("%s from %s: %q, want %q", c.to, s.name(c.from), got, c.saw)
				}
			}
		})
	}
}

func (s *Host) name(n *namespaces.Namespace) string {
	switch n {
	case s.Host:
		return "the host"
	case s.Web:
		return "the container"
	}
	return "outside"
}
