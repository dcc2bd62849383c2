package nft

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	tunnelA, tunnelB = "02:00:00:00:0a:0a", "02:00:00:00:0b:0b"
	markA, markB     = desired.GateMark | 1, desired.GateMark | 2
)

// gateOf is the address at which a host of an ingress network lets connections in.
func gateOf(f model.Family) netip.Addr {
	if f == model.IPv4 {
		return netip.MustParseAddr("172.31.0.2")
	}
	return netip.MustParseAddr("fd31::2")
}

// ingressHost is a host's namespace of an ingress network, and a client in front of its gate.
type ingressHost struct {
	*namespaces.Namespace
	client *namespaces.Namespace
}

// newIngressHost returns one that knows another by the MAC address and the mark; clients have
// these addresses, the same in front of all hosts.
func newIngressHost(t *testing.T, clients ...string) ingressHost {
	t.Helper()
	h := ingressHost{namespaces.New(t), namespaces.New(t)}
	h.Sysctl("net/ipv4/ip_forward", "1")
	h.Sysctl("net/ipv6/conf/all/forwarding", "1")
	namespaces.Cable(namespaces.End{In: h.Namespace, Name: desired.Gate, MAC: "02:00:00:00:00:03"}, namespaces.End{In: h.client, Name: "eth0", MAC: "02:00:00:00:00:04"})
	h.client.Address("eth0", clients...)
	for _, f := range model.Families {
		gate, v := gateOf(f), fmt.Sprintf("-%d", f)
		h.Address(desired.Gate, gate.String()+fmt.Sprintf("/%d", gate.BitLen()))
		h.client.Run("ip", v, "route", "add", gate.String(), "dev", "eth0")
		h.Run("ip", v, "route", "add", "default", "dev", desired.Gate)
		h.Run("ip", v, "route", "add", "default", "dev", desired.Gate, "table", "100")
		h.Run("ip", v, "rule", "add", "fwmark", fmt.Sprint(desired.GateMark), "lookup", "100")
	}
	return h
}

// knows has a host know another by its tunnel.
func (h ingressHost) knows(mac string, mark uint32) {
	for _, f := range model.Families {
		via, v := "240.0.0.1", fmt.Sprintf("-%d", f)
		if f == model.IPv6 {
			via = "fe80::6c73"
		}
		h.Neighbour("vx", via, mac)
		h.Run("ip", v, "route", "add", "default", "via", via, "dev", "vx", "onlink", "table", "101")
		h.Run("ip", v, "rule", "add", "fwmark", fmt.Sprint(mark), "lookup", "101")
	}
}

// follow makes rows so.
func (h ingressHost) follow(t *testing.T, rows ...desired.Row) {
	t.Helper()
	b := Balancer{"test", slog.New(slog.DiscardHandler)}
	if _, err := b.Resync(t.Context(), h.FD(), rows); err != nil {
		t.Fatal(err)
	}
	if again, err := b.Resync(t.Context(), h.FD(), rows); err != nil || again.Writes != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// newTask returns a container on a host whose way out is not the ingress network. It tells
// who connects to its ports 8000, which is published, and 8001.
func newTask(t *testing.T, h ingressHost, name string, i int) *namespaces.Namespace {
	t.Helper()
	box := namespaces.New(t)
	namespaces.Cable(namespaces.End{In: h.Namespace, Name: name, MAC: "02:00:00:00:00:01"}, namespaces.End{In: box, Name: "eth0", MAC: "02:00:00:00:00:02"})
	h.Address(name, "169.254.0.1/32", "fe80::1/64")
	for _, f := range model.Families {
		a, v, via := member(f, i), fmt.Sprintf("-%d", f), "169.254.0.1"
		if f == model.IPv6 {
			via = "fe80::1"
		}
		box.Address("eth0", a.String()+fmt.Sprintf("/%d", a.BitLen()))
		h.Run("ip", v, "route", "add", a.String(), "dev", name)
		box.Run("ip", v, "route", "add", "blackhole", "default")
		box.Run("ip", v, "route", "add", "default", "via", via, "dev", "eth0", "onlink", "table", "100")
		box.Run("ip", v, "rule", "add", "from", a.String(), "lookup", "100")
		for _, port := range []string{"8000", "8001"} {
			l := box.Listen(net.JoinHostPort(a.String(), port))
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
					fmt.Fprint(c, host)
					c.Close()
				}
			}()
		}
	}
	return box
}

// TestIngressKeepsTheClient: through a host without a task and through the one with it, from
// clients with one and the same address at once, which may even be one of the network's; and
// whatever is not published stays shut.
func TestIngressKeepsTheClient(t *testing.T) {
	for _, client := range [][]string{{"203.0.113.7/32", "2001:db8::7/128"}, {"10.7.0.50/32", "fd07::50/128"}} {
		a, b := newIngressHost(t, client...), newIngressHost(t, client...)
		namespaces.Cable(namespaces.End{In: a.Namespace, Name: "vx", MAC: tunnelA}, namespaces.End{In: b.Namespace, Name: "vx", MAC: tunnelB})
		for i, h := range []ingressHost{a, b} {
			h.Address("vx", fmt.Sprintf("10.7.0.%d/24", 253+i), fmt.Sprintf("fd07::f%d/64", i))
		}
		a.knows(tunnelB, markB)
		b.knows(tunnelA, markA)
		newTask(t, b, "end2", 2)
		stranger := newTask(t, a, "end3", 3)
		rowsA := []desired.Row{desired.IngressGuard{Tunnel: "vx"}, desired.IngressNode{MAC: tunnelB, Mark: markB}}
		rowsB := []desired.Row{desired.IngressGuard{Tunnel: "vx"}, desired.IngressNode{MAC: tunnelA, Mark: markA}}
		for _, f := range model.Families {
			a.Neighbour("vx", member(f, 2).String(), tunnelB)
			b.Neighbour("vx", member(f, 3).String(), tunnelA)
			lead := desired.Balance{
				To:       desired.Frontend{Addr: gateOf(f), Protocol: model.TCP, Port: 8080},
				Backends: []netip.AddrPort{netip.AddrPortFrom(member(f, 2), 8000)},
			}
			rowsA, rowsB = append(rowsA, lead), append(rowsB, lead, desired.IngressTarget{Protocol: model.TCP, Addr: member(f, 2), Port: 8000})
		}
		a.follow(t, rowsA...)
		b.follow(t, rowsB...)
		for i, f := range model.Families {
			want, _, _ := strings.Cut(client[i], "/")
			for name, h := range map[string]ingressHost{"without a task": a, "with it": b} {
				for range 3 {
					if got := h.client.Ask(net.JoinHostPort(gateOf(f).String(), "8080"), patience); got != want {
						t.Errorf("by the host %s: the task sees %q, want %s", name, got, want)
					}
				}
			}
			if got := a.Ask(net.JoinHostPort(member(f, 2).String(), "8000"), patience); got == "" {
				t.Error("another host does not reach a published port")
			}
			for port, who := range map[string]*namespaces.Namespace{"8000": stranger, "8001": a.Namespace} {
				if got := who.Ask(net.JoinHostPort(member(f, 2).String(), port), patience/4); got != "" {
					t.Errorf("port %s is reached past what is published, by %s", port, got)
				}
			}
		}
	}
}

func TestIngressRowsThatMakeNoSense(t *testing.T) {
	for _, row := range []desired.Row{
		desired.IngressGuard{Tunnel: "a name too long for one"}, desired.IngressSource{}, desired.IngressNode{MAC: "x"}, desired.IngressTarget{Protocol: "icmp", Addr: netip.MustParseAddr("10.0.0.1"), Port: 1},
		desired.IngressTarget{Protocol: model.TCP, Port: 1}, desired.IngressTarget{Protocol: model.TCP, Addr: netip.MustParseAddr("10.0.0.1")},
	} {
		if _, err := render(row); model.KindOf(err) != model.Invalid {
			t.Errorf("%s: %v", row, err)
		}
	}
}
