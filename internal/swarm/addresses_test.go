package swarm

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

func face(name string, plain bool, addrs ...string) facts.Interface {
	i := facts.Interface{Name: name, Up: true, Loop: name == "lo", Plain: plain}
	for _, a := range addrs {
		i.Addrs = append(i.Addrs, netip.MustParseAddr(a))
	}
	return i
}

// TestAdvertise has Docker's choice of an address, and its words.
func TestAdvertise(t *testing.T) {
	lo := face("lo", true, "127.0.0.1", "::1")
	one := face("eth0", true, "192.0.2.1", "2001:db8::1", "fe80::1")
	for _, c := range []struct {
		name, asked, standard string
		interfaces            []facts.Interface
		want                  string // host:port, or part of the error
	}{
		{"the only one", "", "", []facts.Interface{lo, one}, "192.0.2.1:2377"},
		{"two on one", "", "", []facts.Interface{face("eth0", true, "192.0.2.1", "192.0.2.2")},
			"could not choose an IP address to advertise since this system has multiple addresses on interface eth0 (192.0.2.1 and 192.0.2.2)"},
		{"two", "", "", []facts.Interface{one, face("eth1", true, "192.0.2.2")},
			"multiple addresses on different interfaces (192.0.2.1 on eth0 and 192.0.2.2 on eth1)"},
		{"none", "", "", []facts.Interface{lo, face("eth0", true, "fe80::1")}, "could not find the system's IP address"},
		{"hardware before others", "", "", []facts.Interface{lo, one, face("tun0", false, "10.1.1.1")}, "192.0.2.1:2377"},
		{"no hardware: but not bridges of ours", "", "", []facts.Interface{lo, face("docker0", false, "172.17.0.1"), face("veth1", false, "198.51.100.7")}, "198.51.100.7:2377"},
		{"only IPv6", "", "", []facts.Interface{lo, face("eth0", true, "2001:db8::1")}, "[2001:db8::1]:2377"},
		{"an interface", "eth0", "", []facts.Interface{lo, one}, "192.0.2.1:2377"},
		{"an interface with two", "eth0", "", []facts.Interface{face("eth0", true, "2001:db8::1", "2001:db8::2")}, "interface eth0 has more than one IPv6 address (2001:db8::1 and 2001:db8::2)"},
		{"an interface with one of each", "eth1:99", "", []facts.Interface{face("eth1", true, "192.0.2.9", "fe80::9")}, "192.0.2.9:99"},
		{"an interface without any", "eth1", "", []facts.Interface{face("eth1", true)}, "interface eth1 has no usable IPv4 or IPv6 address"},
		{"an address", "203.0.113.5", "", []facts.Interface{lo}, "203.0.113.5:2377"},
		{"an address with a port", "[2001:db8::5]:99", "", []facts.Interface{lo}, "[2001:db8::5]:99"},
		{"nonsense", "nonsense", "", []facts.Interface{lo}, "advertise address must be a non-zero IP address or network interface (with optional port number)"},
		{"no address", "0.0.0.0", "", []facts.Interface{lo}, "advertise address must be a non-zero IP address"},
		{"the daemon's", "", "203.0.113.6", []facts.Interface{lo}, "203.0.113.6:2377"},
		{"the daemon's nonsense", "", "::", []facts.Interface{lo}, "default advertise address must be a non-zero IP address or network interface (without a port number)"},
	} {
		from := chooser{interfaces: c.interfaces, standard: c.standard, ours: []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")}}
		host, port, err := from.advertise(c.asked, "2377")
		got := net.JoinHostPort(host, port)
		if err != nil {
			got = err.Error()
			if model.KindOf(err) != model.Invalid {
				t.Errorf("%s: kind %d", c.name, model.KindOf(err))
			}
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestTheChosenAddressIsTheHosts: whatever interfaces there are, what is chosen is a
// global address of one that is up, and never one of a network of ours where there is
// hardware.
func TestTheChosenAddressIsTheHosts(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	addrs := []string{"192.0.2.1", "192.0.2.2", "172.17.0.1", "10.0.0.1", "fe80::1", "2001:db8::1", "2001:db8::2", "127.0.0.1", "169.254.1.1"}
	chosen := 0
	for range 3000 {
		c := chooser{ours: []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")}}
		for n := range r.IntN(4) {
			i := face(fmt.Sprint("if", n), r.IntN(2) == 0)
			i.Up, i.Loop = r.IntN(4) > 0, r.IntN(6) == 0
			for range r.IntN(3) {
				i.Addrs = append(i.Addrs, netip.MustParseAddr(addrs[r.IntN(len(addrs))]))
			}
			c.interfaces = append(c.interfaces, i)
		}
		a, err := c.only()
		if err != nil {
			if model.KindOf(err) != model.Invalid {
				t.Fatalf("%+v: %v", c, err)
			}
			continue
		}
		chosen++
		there := false
		for _, i := range c.interfaces {
			for _, b := range i.Addrs {
				there = there || b == a && i.Up && !i.Loop && a.IsGlobalUnicast() && (i.Plain || !c.isOurs(i))
			}
		}
		if !there {
			t.Fatalf("%+v: %s", c, a)
		}
	}
	if chosen < 300 {
		t.Errorf("only %d were chosen", chosen)
	}
}

func TestWhereItListens(t *testing.T) {
	from := chooser{interfaces: []facts.Interface{face("eth0", true, "192.0.2.1")}}
	for _, c := range []struct{ asked, want string }{
		{"", "invalid empty address"},
		{"0.0.0.0:2377", "0.0.0.0 2377"}, {"eth0", "192.0.2.1 2377"}, {"eth0:99", "192.0.2.1 99"}, {"tcp://1.2.3.4", "1.2.3.4 2377"},
		{"[::]:99", ":: 99"}, {"::", ":: 2377"}, {":99", "0.0.0.0 99"}, {"nonsense", badListen},
	} {
		got := ""
		full, err := completeAddr(c.asked)
		if err == nil {
			var host, port string
			host, port, err = from.listen(full)
			got = host + " " + port
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.asked, got, c.want)
		}
	}
	for _, c := range []struct{ listens, advertised, want string }{
		{"192.0.2.1", "203.0.113.1", "192.0.2.1"},
		{"0.0.0.0", "192.0.2.1", "192.0.2.1"},
		{"0.0.0.0", "203.0.113.1", "192.0.2.1"}, // behind a translator: the host's own
	} {
		if got, err := from.local(c.listens, c.advertised); got != c.want || err != nil {
			t.Errorf("%+v: %s, %v", c, got, err)
		}
	}
	if _, err := (chooser{}).local("0.0.0.0", "203.0.113.1"); err == nil || !strings.HasPrefix(err.Error(), mustListen) {
		t.Error(err)
	}
}

func TestPoolsAndPorts(t *testing.T) {
	ten := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	for _, c := range []struct {
		pools []netip.Prefix
		bits  uint32
		want  string
	}{
		{nil, 99, ""}, {ten, 0, ""}, {ten, 16, ""}, {ten, 29, ""},
		{ten, 30, "subnet size is out of range: 30"}, {ten, 15, `invalid CIDR: "10.0.0.0/16". Subnet size is too small for pool: 15`},
	} {
		if err := checkPools(c.pools, c.bits); (err != nil) != (c.want != "") || err != nil && err.Error() != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for port, want := range map[uint32]uint32{0: 4789, 1024: 1024, 49151: 49151, 1023: 0, 49152: 0} {
		if got, err := dataPort(port); got != want || (err != nil) != (want == 0) {
			t.Errorf("port %d: %d, %v", port, got, err)
		}
	}
}

// FuzzCompleteAddr: what is completed has a host and a port, or is refused later.
func FuzzCompleteAddr(f *testing.F) {
	for _, s := range []string{"", "tcp://", "1.2.3.4:5", "[::1]", "[", "a:b:c", "tcp://[fd00::1]:99"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := completeAddr(text)
		if err != nil {
			return
		}
		host, port, err := net.SplitHostPort(got)
		if err == nil && (host == "" || port == "") {
			t.Errorf("%q became %q", text, got)
		}
		_, _, _ = chooser{}.listen(got)
		_, _, _ = chooser{}.advertise(text, "1")
	})
}
