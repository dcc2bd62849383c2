package firewalltest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
	"github.com/linkspan/linkspan/internal/model"
)

// Host addresses on the way to the machine "out".
const (
	Uplink4 = "192.0.2.1"
	Uplink6 = "2001:db8::1"
)

// portRows publish ports of the places in every form.
func portRows() []desired.Row {
	a1, a2, b1, q1, i1 := PlaceOf("a1"), PlaceOf("a2"), PlaceOf("b1"), PlaceOf("q1"), PlaceOf("i1")
	open := PlaceOf("open")
	return slices.Concat(
		published("0.0.0.0", "::", [2]uint16{8080, 8080}, a1, 80),
		published(Uplink4, Uplink6, [2]uint16{8081, 8081}, b1, 81),
		published("127.0.0.1", "", [2]uint16{8082, 8082}, a1, 82),
		published("0.0.0.0", "::", [2]uint16{8090, 8090}, q1, 90),
		published("0.0.0.0", "::", [2]uint16{8095, 8095}, i1, 95), // of an internal network: stays closed
		published("0.0.0.0", "::", [2]uint16{9000, 9009}, a2, 9000),
		published(Uplink4, Uplink6, [2]uint16{9200, 9209}, a2, 9200),
		published(Uplink4, Uplink6, [2]uint16{9100, 9102}, a1, 80),
		[]desired.Row{
			desired.Direct{Bridge: "br-b", Addr: netip.MustParseAddr(open.IP4)},
			desired.Direct{Bridge: "br-b", Addr: netip.MustParseAddr(open.IP6)},
			direct(b1.IP4, 7000, 7000), direct(b1.IP6, 7000, 7000),
			direct(b1.IP4, 7100, 7109), direct(b1.IP6, 7100, 7109),
			desired.DirectICMP{Bridge: "br-b", Addr: netip.MustParseAddr(b1.IP4)},
			desired.DirectICMP{Bridge: "br-b", Addr: netip.MustParseAddr(b1.IP6)},
			trusted(b1.IP4, 7200, 7200), trusted(b1.IP6, 7200, 7200),
			trusted(b1.IP4, 7300, 7309), trusted(b1.IP6, 7300, 7309),
		})
}

// published is one row for each family that a host address is given for.
func published(host4, host6 string, ports [2]uint16, p Place, to uint16) (out []desired.Row) {
	for host, addr := range map[string]string{host4: p.IP4, host6: p.IP6} {
		if host != "" {
			row := Publish(model.UDP, host, ports, addr, to)
			row.Bridge = p.Bridge
			out = append(out, row)
		}
	}
	return out
}

// Publish is a row of br-a.
func Publish(p model.Protocol, host string, ports [2]uint16, to string, toFirst uint16) desired.Publish {
	return desired.Publish{
		Protocol: p, Host: netip.MustParseAddr(host), First: ports[0], Last: ports[1],
		To: netip.MustParseAddr(to), ToFirst: toFirst, Bridge: "br-a",
	}
}

func direct(addr string, first, last uint16) desired.Direct {
	return desired.Direct{Bridge: "br-b", Addr: netip.MustParseAddr(addr), Protocol: model.UDP, First: first, Last: last}
}

// trusted is open to what comes by the interface to the machine "out".
func trusted(addr string, first, last uint16) desired.DirectFrom {
	return desired.DirectFrom{Interface: PlaceOf("out").Host, Direct: direct(addr, first, last)}
}

// visit is a datagram to a port of the host, by its address of either family.
type visit struct {
	from string // a place
	ip   string // host's address
	port uint16
	src  string // if it is not the place's own
}

// to makes a trial of it that ends at a place and port there, or must not.
func (v visit) to(what, place string, port uint16) trial {
	from := PlaceOf(v.from)
	src := v.src
	if src == "" {
		src = SameFamily(v.ip, from.IP4, from.IP6)
	}
	return trial{
		name: fmt.Sprintf("%s: %s to %s port %d", what, v.from, v.ip, v.port), from: v.from, to: place,
		arrive: port != 0, port: port,
		frame: func(id int) []byte {
			return frames.Between(from.GatewayMAC(), from.MAC, src, v.ip).UDP(uint16(10000+id), v.port, id)
		},
	}
}

func SameFamily(as, ip4, ip6 string) string {
	if netip.MustParseAddr(as).Is4() {
		return ip4
	}
	return ip6
}

// seenFrom says which source the receiver sees.
func (c trial) seenFrom(source string) trial {
	c.source = source
	return c
}

func portTrials() (out []trial) {
	for _, host := range []string{Uplink4, Uplink6} {
		out = append(out, outsideTrials(host)...)
		out = append(out, hairpinTrials(host)...)
		out = append(out, directTrials(host)...)
	}
	return append(out, localhostTrials()...)
}

// outsideTrials come from another machine.
func outsideTrials(host string) []trial {
	a2 := PlaceOf("a2")
	return []trial{
		visit{from: "out", ip: host, port: 8080}.to("published at every address", "a1", 80),
		visit{from: "out", ip: SameFamily(host, "198.51.100.1", "2001:db8:1::1"), port: 8080}.to("published, another address", "a1", 80),
		visit{from: "out", ip: host, port: 8081}.to("published at one address", "b1", 81),
		visit{from: "out", ip: SameFamily(host, "198.51.100.1", "2001:db8:1::1"), port: 8081}.to("not published at this address", "b1", 0),
		visit{from: "out", ip: host, port: 8083}.to("not published", "a1", 0),
		visit{from: "out", ip: host, port: 9005}.to("range", "a2", 9005),
		visit{from: "out", ip: host, port: 9209}.to("range at one address", "a2", 9209),
		visit{from: "out", ip: host, port: 9101}.to("shifted range", "a1", 81),
		visit{from: "out", ip: host, port: 9010}.to("behind a range", "a2", 0),
		visit{from: "out", ip: host, port: 8090}.to("icc=false", "q1", 90),
		visit{from: "out", ip: host, port: 8095}.to("into an internal network", "i1", 0),
		visit{from: "out", ip: host, port: 8080, src: SameFamily(host, a2.IP4, a2.IP6)}.to("with a container's source", "a1", 0),
		visit{from: "out", ip: SameFamily(host, PlaceOf("a1").IP4, PlaceOf("a1").IP6), port: 80}.to("published port, direct route", "a1", 0),
	}
}

// hairpinTrials come from containers.
func hairpinTrials(host string) []trial {
	gateway := SameFamily(host, "10.1.0.1", "fd01::1")
	quiet := SameFamily(host, "10.4.0.1", "fd04::1")
	manual := visit{from: "manual", ip: host, port: 8080}.to("same network, foreign port", "a1", 80).seenFrom(gateway)
	manual.trueIfBridged = true
	outside := SameFamily(host, PlaceOf("out").IP4, PlaceOf("out").IP6)
	return []trial{
		visit{from: "a2", ip: host, port: 8080}.to("same network", "a1", 80).seenFrom(gateway),
		visit{from: "a2", ip: gateway, port: 8080}.to("same network, gateway's address", "a1", 80).seenFrom(gateway),
		visit{from: "a1", ip: host, port: 8080}.to("the container itself", "a1", 80).seenFrom(gateway),
		visit{from: "q1", ip: host, port: 8090}.to("the container itself, icc=false", "q1", 90).seenFrom(quiet),
		visit{from: "b1", ip: host, port: 8080}.to("another network", "a1", 80),
		visit{from: "b1", ip: gateway, port: 9001}.to("another network, range", "a2", 9001),
		visit{from: "i1", ip: host, port: 8080}.to("from an internal network", "a1", 0),
		visit{from: "a1", ip: outside, port: 8080}.to("port of that number elsewhere", "out", 8080).seenFrom(host),
		visit{from: "q2", ip: host, port: 8090}.to("same network, icc=false", "q1", 90).seenFrom(quiet),
		manual,
	}
}

func directTrials(host string) []trial {
	open, b1 := PlaceOf("open"), PlaceOf("b1")
	openIP, b1IP := SameFamily(host, open.IP4, open.IP6), SameFamily(host, b1.IP4, b1.IP6)
	return []trial{
		visit{from: "out", ip: openIP, port: 1234}.to("direct", "open", 1234),
		visit{from: "a1", ip: openIP, port: 1234}.to("direct, from another network", "open", 1234),
		visit{from: "i1", ip: openIP, port: 1234}.to("direct, from an internal network", "open", 0),
		visit{from: "out", ip: b1IP, port: 7000}.to("direct to a port", "b1", 7000),
		visit{from: "out", ip: b1IP, port: 7109}.to("direct to a range", "b1", 7109),
		visit{from: "out", ip: b1IP, port: 7001}.to("direct to another port", "b1", 0),
		visit{from: "out", ip: b1IP, port: 7200}.to("by a trusted interface", "b1", 7200),
		visit{from: "far", ip: b1IP, port: 7200}.to("by another interface", "b1", 0),
		visit{from: "a1", ip: b1IP, port: 7200}.to("from another network", "b1", 0),
		visit{from: "out", ip: b1IP, port: 7305}.to("by a trusted interface, range", "b1", 7305),
		visit{from: "far", ip: b1IP, port: 7305}.to("by another interface, range", "b1", 0),
		visit{from: "out", ip: b1IP, port: 7310}.to("by a trusted interface, another port", "b1", 0),
		ping("out", b1, b1IP, true), ping("a1", b1, b1IP, true), ping("i1", b1, b1IP, false),
		ping("out", PlaceOf("a1"), SameFamily(host, PlaceOf("a1").IP4, PlaceOf("a1").IP6), false),
	}
}

// ping is an echo request to a container's own address.
func ping(from string, to Place, ip string, arrive bool) trial {
	p := PlaceOf(from)
	src := SameFamily(ip, p.IP4, p.IP6)
	return trial{
		name: fmt.Sprintf("ping: %s to %s", from, ip), from: from, to: to.Name, arrive: arrive,
		frame: func(id int) []byte { return frames.Between(p.GatewayMAC(), p.MAC, src, ip).Echo(id) },
	}
}

// localhostTrials claim to be, or to be for, the host itself. IPv6 has nothing
// to route ::1 with.
func localhostTrials() []trial {
	return []trial{
		visit{from: "out", ip: "127.0.0.1", port: 8082}.to("published on localhost", "a1", 0),
		visit{from: "a2", ip: "127.0.0.1", port: 8082}.to("published on localhost", "a1", 0),
		visit{from: "b1", ip: "127.0.0.1", port: 8080}.to("by localhost from another network", "a1", 0),
		visit{from: "out", ip: Uplink4, port: 8080, src: "127.0.0.1"}.to("with a localhost source", "a1", 0),
		visit{from: "manual", ip: Uplink4, port: 8080, src: "127.0.0.1"}.to("with a localhost source", "a1", 0),
		visit{from: "out", ip: Uplink6, port: 8080, src: "fe80::2"}.to("with a link-local source", "a1", 0),
		{name: "own broadcast", from: "a1", to: "a1", frame: arpFromA1(1, PlaceOf("a1").MAC, PlaceOf("a1").IP4, PlaceOf("a2").IP4)},
	}
}

// IsLocal tells whether an address is the host's.
func IsLocal(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	for _, p := range Places() {
		for _, g := range []string{gateway(p.IP4, 24), gateway(p.IP6, 64)} {
			if strings.HasPrefix(g, a.String()+"/") {
				return true
			}
		}
	}
	return false
}

// PlaceAt returns who has an address.
func PlaceAt(a netip.Addr) Place {
	for _, p := range Places() {
		if a.String() == p.IP4 || a.String() == p.IP6 {
			return p
		}
	}
	return Place{}
}

// HostOf is the host's own address on a network.
func HostOf(ip string, bits int) string {
	address := gateway(ip, bits)
	return address[:len(address)-3]
}
