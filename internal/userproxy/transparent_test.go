package userproxy

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// TestSpeaksFor: a client's address is the container's to see if it is of the same family,
// and if answers to it would come back by the host.
func TestSpeaksFor(t *testing.T) {
	row := desired.Forward{To: netip.MustParseAddr("10.1.0.2"), Transparent: true, Subnet: netip.MustParsePrefix("10.1.0.0/24")}
	for client, want := range map[string]bool{
		"192.0.2.7": true, "10.2.0.9": true, "10.1.0.9": false, "10.1.0.1": false, "127.0.0.1": false, "2001:db8::7": false, "fe80::7%2": false,
		"224.0.0.1": false, "255.255.255.255": false, "0.0.0.0": false,
	} {
		p := &proxy{row: row}
		if got := p.speaksFor(netip.MustParseAddr(client)); got != want {
			t.Errorf("%s: %t", client, got)
		}
		p.row.Transparent = false
		if p.speaksFor(netip.MustParseAddr(client)) {
			t.Errorf("%s, unasked", client)
		}
	}
}

// TestClientsAddress: the container sees it, in both families and protocols, and under
// the port that it has unless somebody here has that. A second connection from the same
// port is served as well.
func TestClientsAddress(t *testing.T) {
	for _, a := range []string{"192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24", "2001:db8::1/64", "2001:db8::2/64", "2001:db8::3/64"} {
		ip(t, "addr", "add", a, "dev", "lo", "nodad")
		t.Cleanup(func() { ip(t, "addr", "del", a, "dev", "lo") })
	}
	for _, c := range []struct{ host, client, container string }{
		{"192.0.2.1", "192.0.2.2", "192.0.2.3"},
		{"2001:db8::1", "2001:db8::2", "2001:db8::3"},
	} {
		for _, near := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s near %t", c.client, near), func(t *testing.T) {
				s := start(t)
				tcp := listen(t, net.JoinHostPort(c.container, "0"), func(conn *net.TCPConn) { fmt.Fprint(conn, conn.RemoteAddr()) })
				row := to(model.TCP, c.host, 7000, 7000, tcp)
				row.Transparent, row.Subnet = true, netip.PrefixFrom(row.To, row.To.BitLen())
				if near {
					row.Subnet = netip.PrefixFrom(row.To, 24)
				}
				apply(t, s, wanted(row))
				for range 2 {
					d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.client)}}
					conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(c.host, "7000"))
					if err != nil {
						t.Fatal(err)
					}
					buffer := make([]byte, 100)
					n, err := conn.Read(buffer)
					conn.Close()
					seen, bad := netip.ParseAddrPort(string(buffer[:n]))
					if err != nil || bad != nil || (seen.Addr().String() == c.client) == near {
						t.Errorf("the container sees %q (%v)", buffer[:n], err)
					}
				}
			})
		}
	}
}

// TestClientsAddressOfDatagrams is the same for a flow, whose answers go to the client.
func TestClientsAddressOfDatagrams(t *testing.T) {
	for _, a := range []string{"192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24"} {
		ip(t, "addr", "add", a, "dev", "lo")
		t.Cleanup(func() { ip(t, "addr", "del", a, "dev", "lo") })
	}
	s := start(t)
	container, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP("192.0.2.3")})
	if err != nil {
		t.Fatal(err)
	}
	defer container.Close()
	go func() {
		buffer := make([]byte, 100)
		for {
			_, from, err := container.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			_, _ = container.WriteToUDPAddrPort([]byte(from.Addr().String()), from)
		}
	}()
	row := to(model.UDP, "192.0.2.1", 7000, 7000, container.LocalAddr().String())
	row.Transparent = true
	apply(t, s, wanted(row))
	client, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP("192.0.2.2")}, &net.UDPAddr{IP: net.ParseIP("192.0.2.1"), Port: 7000})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	buffer := make([]byte, 100)
	for range 2 {
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Read(buffer); err != nil || string(buffer[:n]) != "192.0.2.2" {
			t.Errorf("%q, %v", buffer[:n], err)
		}
	}
}

// ip runs ip(8) in the tests' own namespace.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}
