package meter

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
)

// TestLinks reads the loopback interface of a namespace through which something went.
func TestLinks(t *testing.T) {
	host := kerneltest.New(t)
	m := New(host.Namespaces(t))
	var before, after uint64
	read := func() uint64 {
		links, err := m.Links(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if l.Link == "lo" {
				if l.Received != l.Sent {
					t.Errorf("what lo sends it receives: %+v", l)
				}
				return l.Received.Bytes
			}
		}
		t.Fatalf("no lo among %+v", links)
		return 0
	}
	before = read()
	host.Do(t, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Sendto(fd, make([]byte, 1000), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
	})
	if after = read(); after < before+1000 {
		t.Errorf("%d bytes before, %d after 1000 were sent", before, after)
	}
	if _, err := m.Links(t.Context(), "nobody"); err == nil {
		t.Error("a namespace that is not there was read")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, unix.SizeofIfInfomsg))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if got, err := parse(msg); err == nil && len(msg) < unix.SizeofIfInfomsg {
			t.Errorf("a message without its header was read: %+v", got)
		}
	})
}
