package hostports

import (
	"fmt"
	"net"
	"testing"
)

func TestListeners(t *testing.T) {
	start(t) // in a network namespace of its own
	for _, l := range []struct{ network, at string }{{"tcp4", "127.0.0.1:7003"}, {"tcp6", "[::1]:7003"}, {"tcp4", "127.0.0.1:7004"}} {
		c, err := net.Listen(l.network, l.at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	c, err := net.ListenPacket("udp4", "0.0.0.0:7003")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dial(t, "127.0.0.1:7003") // a connection is nobody who waits
	got, err := Listeners(t.Context(), 7003)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, l := range got {
		text += fmt.Sprintf("%s %s %s\n", l.Protocol, l.At, l.Who)
	}
	me := self(t)
	if want := "tcp 127.0.0.1:7003 " + me + "\ntcp [::1]:7003 " + me + "\nudp 0.0.0.0:7003 " + me + "\n"; text != want {
		t.Errorf("got\n%swant\n%s", text, want)
	}
	if got, err := Listeners(t.Context(), 7005); err != nil || len(got) != 0 {
		t.Errorf("a free port: %v, %v", got, err)
	}
}
