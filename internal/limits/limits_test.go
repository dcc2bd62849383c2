package limits

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestFilesFollowTheLimit(t *testing.T) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		t.Fatal(err)
	}
	if got, want := Files(), int64(min(r.Cur, unlimited)); got != want {
		t.Errorf("%d descriptors, want %d", got, want)
	}
	if r.Cur != r.Max {
		t.Errorf("the soft limit is %d of %d: it was not raised", r.Cur, r.Max)
	}
	if got, want := OneIn(8)(), Files()/8; got != want {
		t.Errorf("one in 8 is %d, want %d", got, want)
	}
}

func TestWhatPasses(t *testing.T) {
	for _, c := range []struct {
		err             error
		scarce, passing bool
	}{
		{os.NewSyscallError("accept4", syscall.EMFILE), true, true},
		{fmt.Errorf("open: %w", syscall.ENFILE), true, true},
		{&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.ENOMEM)}, true, true},
		{syscall.ENOBUFS, true, true},
		{syscall.ECONNABORTED, false, true},
		{syscall.EHOSTUNREACH, false, true},
		{syscall.EINVAL, false, false}, // somebody has shut the socket down
		{net.ErrClosed, false, false},
		{os.ErrDeadlineExceeded, false, false},
		{nil, false, false},
	} {
		if Scarce(c.err) != c.scarce || Passing(c.err) != c.passing {
			t.Errorf("%v: scarce %t, passing %t", c.err, Scarce(c.err), Passing(c.err))
		}
	}
}

// flaky is a listener that fails as often as there are errors.
type flaky struct {
	net.Listener
	errs []error
}

func (f *flaky) Accept() (net.Conn, error) {
	if len(f.errs) == 0 {
		a, b := net.Pipe()
		return a, b.Close()
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	return nil, err
}

func (f *flaky) Close() error { return nil }

// TestOutageIsToldOnce: a thousand failures in a row are one line, and one more when
// they end; what comes and goes all the time is not told every time.
func TestOutageIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		o := &Outage{Logger: slog.New(slog.NewTextHandler(&said, nil)), Op: "test.accept", What: "the listener"}
		f := &flaky{}
		l := Patient(f, o)
		fail := func(n int) {
			for range n {
				f.errs = append(f.errs, os.NewSyscallError("accept4", syscall.EMFILE))
			}
			c, err := l.Accept()
			if err != nil {
				t.Fatalf("after %d failures: %v", n, err)
			}
			c.Close()
		}
		fail(1000)
		for range 50 {
			fail(1)
		}
		if n := strings.Count(said.String(), "has to wait"); n != 1 || !strings.Contains(said.String(), "too many open files") {
			t.Errorf("told %d times:\n%s", n, said.String())
		}
		if n := strings.Count(said.String(), "goes on"); n != 1 {
			t.Errorf("its end was told %d times:\n%s", n, said.String())
		}
		time.Sleep(2 * sayAgain) // nothing is waited for: it is the absence that counts
		fail(1)
		if n := strings.Count(said.String(), "has to wait"); n != 2 {
			t.Errorf("another one later: told %d times in all", n)
		}
	})
}

func TestPatientListenerEnds(t *testing.T) {
	f := &flaky{errs: []error{syscall.EINVAL}}
	l := Patient(f, &Outage{})
	if _, err := l.Accept(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a listener that was shut down: %v", err)
	}
	for range 10_000 {
		f.errs = append(f.errs, syscall.EMFILE)
	}
	ended := make(chan error)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it waits on though it was closed")
	}
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := 7
		err := Retry(t.Context(), func() error {
			if left--; left > 0 {
				return fmt.Errorf("open: %w", syscall.EMFILE)
			}
			return nil
		})
		if err != nil || left != 0 {
			t.Errorf("%v with %d to go", err, left)
		}
		calls := 0
		if err := Retry(t.Context(), func() error { calls++; return os.ErrNotExist }); !errors.Is(err, os.ErrNotExist) || calls != 1 {
			t.Errorf("another error: %v after %d calls", err, calls)
		}
		begun := time.Now()
		if err := Retry(t.Context(), func() error { return syscall.EMFILE }); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("for ever: %v", err)
		}
		if took := time.Since(begun); took < retryTime || took > 2*retryTime {
			t.Errorf("for ever ended after %s", took)
		}
	})
}

func TestSpareLetsOneIn(t *testing.T) {
	var s Spare
	s.Keep()
	defer s.Close()
	number := s.file.Fd()
	lent := s.Lend(func() {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Fd() != number {
			t.Logf("got descriptor %d instead of %d: another took it", f.Fd(), number)
		}
	})
	if !lent || s.file == nil {
		t.Errorf("lent %t, has one again: %t", lent, s.file != nil)
	}
}

func fill(s *Share) (n int) {
	for s.Enter() {
		n++
	}
	return n
}

func TestShares(t *testing.T) {
	all := Pool{Max: 200, Least: 5}
	var greedy []*Share
	for i, want := range []int{30, 30, 20, 10, 5, 5, 5, 5} {
		s := &Share{Pool: &all, Max: 30}
		greedy = append(greedy, s)
		if n := fill(s); n != want {
			t.Errorf("greedy one %d: %d places, want %d", i+1, n, want)
		}
	}
	for range 15 {
		greedy = append(greedy, &Share{Pool: &all, Max: 30})
		fill(greedy[len(greedy)-1])
	}
	inside := all.Inside()
	quiet := Share{Pool: &all, Max: 30}
	if n := fill(&quiet); n != int(all.Least) {
		t.Errorf("beside %d with %d places, one who has none gets %d", len(greedy), inside, n)
	}
	for len(greedy) < 100 {
		greedy = append(greedy, &Share{Pool: &all, Max: 30})
		fill(greedy[len(greedy)-1])
	}
	if n := all.Inside(); n != all.Max {
		t.Errorf("%d places are taken in the end", n)
	}
	for _, s := range append(greedy, &quiet) {
		for s.Inside() > 0 {
			s.Leave()
		}
	}
	if n := all.Inside(); n != 0 {
		t.Errorf("%d places are taken by nobody", n)
	}
}

// TestPoolShrinks: with fewer descriptors there are fewer places, at once.
func TestPoolShrinks(t *testing.T) {
	limit := int64(100)
	all := Pool{Max: 1000, Least: 2, Limit: func() int64 { return limit }}
	one := Share{Pool: &all, Max: 1000}
	if n := fill(&one); n != 25 {
		t.Errorf("%d places of 100", n)
	}
	limit = 10
	if one.Enter() {
		t.Error("another place where there are 10")
	}
	limit = 5000
	if n := fill(&one); n != 225 {
		t.Errorf("%d places more of 1000", n)
	}
}

// TestCrowdSharesAlike: one client that fills four ports leaves room for another at
// each of them, and at a fifth.
func TestCrowdSharesAlike(t *testing.T) {
	all := &Pool{Max: 4096, Least: 16}
	greedy, honest := netip.MustParseAddr("192.0.2.66"), netip.MustParseAddr("192.0.2.7")
	var ports []*Crowd
	for range 5 {
		ports = append(ports, &Crowd{Share: Share{Pool: all, Max: 1024}})
	}
	takes := func(c *Crowd, client netip.Addr) (n int) {
		for c.Admit(client) {
			n++
		}
		return n
	}
	if n := takes(ports[0], greedy); n < 500 {
		t.Errorf("one client alone gets %d of 4096 places", n)
	}
	for _, p := range ports[1:4] {
		takes(p, greedy)
	}
	for i, p := range ports {
		if n := takes(p, honest); n < 8 {
			t.Errorf("port %d: another client gets %d places beside one with %d", i, n, all.Inside())
		}
	}
	for _, p := range ports {
		for _, client := range []netip.Addr{greedy, honest} {
			for p.of[client] > 0 {
				p.Dismiss(client)
			}
		}
		if len(p.of) != 0 || p.Inside() != 0 {
			t.Errorf("%d clients are remembered with %d places", len(p.of), p.Inside())
		}
	}
	if all.Inside() != 0 {
		t.Errorf("%d places are taken by nobody", all.Inside())
	}
}
