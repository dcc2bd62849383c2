package serve

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/keeper/wire"
)

// hello asks over a bare socket who the keeper is: a Conn would take descriptors.
func hello(fd int) (string, error) {
	body, err := json.Marshal(wire.Request{ID: 1, Verb: wire.VerbHello})
	if err != nil {
		return "", err
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	frame = append(append(frame, 0, 0), body...)
	if _, err := unix.Write(fd, frame); err != nil {
		return "", err
	}
	answer := make([]byte, 4096)
	n, err := unix.Read(fd, answer)
	if err != nil || n == 0 {
		return "", fmt.Errorf("no answer: %d bytes, %w", n, err)
	}
	return string(answer[:n]), nil
}

// TestKeeperOutlastsALackOfFiles: who calls while there are no descriptors is answered
// by those that are kept for it, and the others when there are some again; who called
// before notices nothing; and the keeper goes on.
func TestKeeperOutlastsALackOfFiles(t *testing.T) {
	k := serve(t, path(t), nil)
	before := dial(t, k.path)
	if a := ask(t, before, wire.VerbHello, nil); a.Error != nil {
		t.Fatal(a.Error)
	}
	var late []int
	for range 2 * spareFiles {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
			t.Fatal(err)
		}
		late = append(late, fd)
	}
	var had unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	none := had
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	restored := false
	restore := func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
			t.Fatal(err)
		}
		restored = true
	}
	defer func() {
		if !restored {
			restore()
		}
	}()
	for _, fd := range late {
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: k.path}); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, "the lack is noticed", k.server.outage.Lasts)
	if a := ask(t, before, wire.VerbHello, nil); a.Error != nil {
		t.Fatal(a.Error)
	}
	restore()
	for i, fd := range late {
		if got, err := hello(fd); err != nil || !strings.Contains(got, fmt.Sprintf(`"version":%d`, wire.Version)) {
			t.Errorf("caller %d: %q, %v", i, got, err)
		}
	}
	select {
	case err := <-k.done:
		t.Fatalf("the keeper has ended: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
}

// TestSpareFilesLetCallersIn: without a free descriptor a call is answered all the same.
func TestSpareFilesLetCallersIn(t *testing.T) {
	k := serve(t, path(t), nil)
	soon(t, "it serves", func() bool { return ask(t, dial(t, k.path), wire.VerbHello, nil).Error == nil })
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	// All but what is kept is taken.
	var had unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	few := had
	few.Cur = 200
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	var taken []int
	for {
		one, err := unix.Dup(fd)
		if err != nil {
			break
		}
		taken = append(taken, one)
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: k.path})
	var got string
	if err == nil {
		got, err = hello(fd)
	}
	for _, one := range taken {
		unix.Close(one)
	}
	if failed := unix.Setrlimit(unix.RLIMIT_NOFILE, &had); failed != nil {
		t.Fatal(failed)
	}
	if err != nil || !strings.Contains(got, fmt.Sprintf(`"version":%d`, wire.Version)) {
		t.Errorf("got %q, %v", got, err)
	}
}
