package desired

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
)

func TestPortRowsInWords(t *testing.T) {
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	to := netip.MustParseAddr("10.0.0.2")
	direct := Direct{Bridge: "br0", Addr: to, Protocol: "tcp", First: 80, Last: 82}
	for _, c := range []struct {
		row       Row
		text, key string
	}{
		{Publish{"tcp", any4, 8080, 8080, to, 80, "br0"}, "policy publish tcp 0.0.0.0:8080 to 10.0.0.2:80 on br0", "publish tcp 0.0.0.0 8080"},
		{Publish{"udp", any4, 1, 65535, to, 1, "br0"}, "policy publish udp 0.0.0.0:1-65535 to 10.0.0.2:1-65535 on br0", "publish udp 0.0.0.0 1"},
		{direct, "policy direct tcp 10.0.0.2:80-82 on br0", "direct 10.0.0.2 tcp 80"},
		{Direct{Bridge: "br0", Addr: to}, "policy direct 10.0.0.2 on br0", "direct 10.0.0.2  0"},
		{DirectFrom{"eth1", direct}, "policy direct tcp 10.0.0.2:80-82 on br0 from eth1", "direct-from eth1 direct 10.0.0.2 tcp 80"},
		{Forward{Protocol: "tcp", Host: any6, First: 9000, Last: 9002, To: to, ToFirst: 80}, "forward tcp [::]:9000-9002 to 10.0.0.2:80-82", "tcp :: 9000"},
		{Forward{Protocol: "tcp", Host: any6, First: 9, Last: 9, To: to, ToFirst: 80, Rest: true}, "forward tcp [::]:9 to 10.0.0.2:80 at ::1 and link-local addresses", "tcp :: 9"},
		{Forward{Protocol: "udp", Host: any4, First: 9, Last: 9, To: to, ToFirst: 8, Rest: true, Bridge: "br0"}, "forward udp 0.0.0.0:9 to 10.0.0.2:8 of broadcasts not by br0", "udp 0.0.0.0 9"},
		{Served{"tcp", any6, 9000, 9002}, "policy served tcp [::]:9000-9002", "served tcp :: 9000"},
		{Elsewhere{"veth0", []netip.Addr{to}}, "policy elsewhere of veth0 [10.0.0.2]", "elsewhere veth0"},
		{Reserve{"sctp", any6, 7, 7}, "reserve sctp [::]:7", "sctp :: 7"},
	} {
		if c.row.String() != c.text || c.row.Key().Name != c.key {
			t.Errorf("%q under %q, want %q under %q", c.row, c.row.Key().Name, c.text, c.key)
		}
	}
}

func TestReservationsCollide(t *testing.T) {
	row := func(addr string, first, last uint16) Reserve {
		return Reserve{Protocol: "tcp", Addr: netip.MustParseAddr(addr), First: first, Last: last}
	}
	base := row("10.0.0.1", 100, 200)
	udp := base
	udp.Protocol = "udp"
	for _, c := range []struct {
		other Reserve
		want  bool
	}{
		{base, true}, {udp, false}, {row("10.0.0.1", 201, 300), false}, {row("10.0.0.1", 200, 300), true},
		{row("10.0.0.2", 100, 200), false}, {row("0.0.0.0", 150, 150), true}, {row("::", 150, 150), false},
	} {
		if base.Collides(c.other) != c.want || c.other.Collides(base) != c.want {
			t.Errorf("%s and %s: want %t", base, c.other, c.want)
		}
	}
}

func TestHeldSpeaksDocker(t *testing.T) {
	err := &PortTaken{Row: Reserve{"tcp", netip.IPv6Unspecified(), 8000, 8010}, Port: 8003, Err: syscall.EADDRINUSE}
	if err.Error() != "failed to bind host port [::]:8003/tcp: address already in use" || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v", err)
	}
	err.Port, err.Err = 0, syscall.EADDRNOTAVAIL
	if err.Error() != "failed to bind host port [::]:8000/tcp: cannot assign requested address" {
		t.Errorf("%v", err)
	}
}
