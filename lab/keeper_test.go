package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	awayTime    = 10 * time.Second // how long there is no daemon
	awayAsked   = 10_000           // so many names, and pages, are asked for in that time at least
	askerPace   = 4 * time.Millisecond
	askers      = 5           // of names, and as many of pages
	answerTime  = time.Second // an answer that comes later is lost
	talkedLines = 12_000
	talkedBytes = 1_000 // of a line
	// talkedAway is how much must be in the log, in bytes, at the end of the time without a daemon: what a container
	// that is made to wait has not written.
	talkedAway = 6 << 20
	// replaced is how long the daemon may take to notice a dead keeper and to give a new one all it needs.
	replaced = 5 * time.Second
)

// talk is a script that writes a line of a thousand bytes, with its number, about a thousand times in a second.
func talk(lines int) string {
	return fmt.Sprintf(`awk 'BEGIN {
		tail = sprintf("%%0%dd", 0)
		for (n = 0; n < %d; n++) {
			printf "%%07d %%s\n", n, tail
			if (n %% 20 == 19) { fflush(); system("usleep 17000") }
		}
	}'`, talkedBytes-9, lines)
}

// TestNobodyNotices kills the daemon and leaves it dead for a while: no name and no page that is asked for meanwhile is
// lost, and every line of a container that talks all the while is in its log.
func TestNobodyNotices(t *testing.T) {
	s := newScene(t, needEngine(t))
	ctx, cancel := context.WithTimeout(t.Context(), 3*crashStep)
	defer cancel()
	s.do(s.ask(ctx, 100)) // with a daemon
	must(t)(s.h.Docker(ctx, "run", "-d", "--name", "talker", "busybox", "sh", "-c", talk(talkedLines)))
	s.do(s.h.Kill(ctx))
	away := time.Now()
	s.do(s.ask(ctx, awayAsked))
	time.Sleep(time.Until(away.Add(awayTime))) // nothing is waited for: so long there is no daemon, however fast it went
	log := must(t)(s.h.Run(ctx, "sh", "-c", `cat "$0"/containers/*/*-json.log | wc -c`, s.h.file("data")))
	var written int
	if _, err := fmt.Sscan(log, &written); err != nil || written < talkedAway {
		t.Errorf("after %s without a daemon the log has %q bytes, less than %d", time.Since(away), log, talkedAway)
	}
	t.Logf("%s without a daemon: %d names and %d pages asked for, %d bytes logged", time.Since(away).Round(time.Millisecond),
		s.names.Load(), s.pages.Load(), written)

	var meanwhile errgroup.Group
	meanwhile.Go(func() error { return s.ask(ctx, 500) })
	s.do(s.h.Start(ctx))
	s.do(meanwhile.Wait())
	if code := must(t)(s.h.Docker(ctx, "wait", "talker")); code != "0" {
		t.Errorf("the talker ended with %s", code)
	}
	s.do(everyLine(must(t)(s.h.Docker(ctx, "logs", "talker"))))
	s.clear(ctx)
}

// TestKeeperIsReplaced kills the keeper: the daemon starts another one, names resolve again, and what talks goes on.
func TestKeeperIsReplaced(t *testing.T) {
	s := newScene(t, needEngine(t))
	ctx, cancel := context.WithTimeout(t.Context(), 3*crashStep)
	defer cancel()
	const few = talkedLines / 4
	must(t)(s.h.Docker(ctx, "run", "-d", "--name", "talker", "busybox", "sh", "-c", talk(few)))
	before, err := s.keepers(ctx)
	s.do(err)
	must(t)(s.h.Run(ctx, append([]string{"kill", "-KILL"}, before...)...))
	began := time.Now()
	s.patience = answerTime / 20
	s.do(Until(ctx, replaced, func() error { return s.ask(ctx, 1) }))
	s.patience = answerTime
	t.Logf("names resolve again after %s", time.Since(began).Round(time.Millisecond))
	s.do(Until(ctx, replaced, func() error {
		after, err := s.keepers(ctx)
		if err == nil && (len(after) != 1 || after[0] == before[0]) {
			err = fmt.Errorf("the keepers are %v, and were %v", after, before)
		}
		return err
	}))
	s.do(s.ask(ctx, 100))
	if code := must(t)(s.h.Docker(ctx, "wait", "talker")); code != "0" {
		t.Errorf("the talker ended with %s", code)
	}
	last := must(t)(s.h.Docker(ctx, "logs", "--tail", "1", "talker"))
	if want := fmt.Sprintf("%07d ", few-1); !strings.HasPrefix(last, want) || len(last) != talkedBytes-1 {
		t.Errorf("the last line is %.80q, not %q", last, want)
	}
	s.clear(ctx)
}

// TestUpgrade puts other files in the place of the programs, as an installation does, and restarts the daemon, twice: a
// new keeper takes over with no name and no page lost, and the old one does not stay.
func TestUpgrade(t *testing.T) {
	engine := filepath.Join(t.TempDir(), filepath.Base(needEngine(t)))
	install(t, engine)
	s := newScene(t, engine)
	ctx, cancel := context.WithTimeout(t.Context(), 3*crashStep)
	defer cancel()
	must(t)(s.h.Docker(ctx, "run", "-d", "--name", "talker", "busybox", "sleep", "1000"))
	for range 2 {
		before, err := s.keepers(ctx)
		s.do(err)
		var meanwhile errgroup.Group
		meanwhile.Go(func() error { return s.ask(ctx, 2000) })
		install(t, engine)
		s.do(s.h.Stop(ctx))
		s.do(s.h.Start(ctx))
		s.do(meanwhile.Wait())
		s.do(Until(ctx, 2*replaced, func() error {
			after, err := s.keepers(ctx)
			if err == nil && (len(after) != 1 || after[0] == before[0]) {
				err = fmt.Errorf("the keepers are %v, and were %v", after, before)
			}
			return err
		}))
	}
	s.clear(ctx)
}

// install puts the programs that are tested, copied anew, where the engine and what is beside it are to be.
func install(t *testing.T, engine string) {
	t.Helper()
	for _, program := range []string{filepath.Base(engine), theKeeper, "linkspan"} {
		from, to := filepath.Join(filepath.Dir(needEngine(t)), program), filepath.Join(filepath.Dir(engine), program)
		text, err := os.ReadFile(from)
		if err == nil {
			err = errors.Join(os.WriteFile(to+".new", text, 0o755), os.Rename(to+".new", to))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// scene is a host with a web server and somebody who asks it.
type scene struct {
	rig
	t            *testing.T
	client       string // path of the asker's network namespace, on the real machine
	web          netip.Addr
	patience     time.Duration // with an answer
	names, pages atomic.Int64  // answers
}

// newScene starts it; a build without a keeper has none.
func newScene(t *testing.T, engine string) *scene {
	t.Helper()
	if _, err := os.Stat(filepath.Join(filepath.Dir(engine), theKeeper)); errors.Is(err, os.ErrNotExist) {
		t.Skipf("there is no %s beside the engine", theKeeper)
	}
	h := New(t, Options{Engine: engine}).Host(1)
	s := &scene{t: t, patience: answerTime, rig: rig{h: h, linkspan: filepath.Join(filepath.Dir(engine), "linkspan")}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the engine wrote at last:\n%s", lastLines(h.Log(), 40))
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), crashStep)
	defer cancel()
	s.do(h.Start(ctx))
	s.do(h.Load(ctx, "busybox", "nginx"))
	must(t)(h.Docker(ctx, "network", "create", "office"))
	must(t)(h.Docker(ctx, "run", "-d", "--name", "web", "--network", "office", "nginx"))
	must(t)(h.Docker(ctx, "run", "-d", "--name", "client", "--network", "office", "busybox", "sleep", "1000"))
	have, err := s.containers(ctx)
	s.do(err)
	for _, c := range have {
		switch c.Name {
		case "/web":
			s.web = netip.MustParseAddr(c.NetworkSettings.Networks["office"].IPAddress)
		case "/client":
			s.client = fmt.Sprintf("/proc/%d/root/run/netns/%s", h.PID(), c.short())
		}
	}
	s.do(Until(ctx, cleanTime, func() error { return s.ask(ctx, 1) })) // the web server needs a moment
	return s
}

func (s *scene) do(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// clear removes everything.
func (s *scene) clear(ctx context.Context) {
	s.t.Helper()
	must(s.t)(s.h.Docker(ctx, "rm", "-f", "web", "client", "talker"))
	must(s.t)(s.h.Docker(ctx, "network", "rm", "office"))
	s.do(Until(ctx, 3*cleanTime, func() error { return errors.Join(s.h.CheckClean(ctx), s.agree(ctx, nil)) }))
}

// ask has names and pages asked for, so many of each, evenly and by several askers. Every one must be answered.
func (s *scene) ask(ctx context.Context, count int) error {
	var all errgroup.Group
	for i := range askers {
		share := (count + askers - 1 - i) / askers
		all.Go(func() error { return s.within(ctx, share, s.askName, &s.names) })
		all.Go(func() error { return s.within(ctx, share, s.askPage, &s.pages) })
	}
	return all.Wait()
}

// within asks from within the client's namespace.
func (s *scene) within(ctx context.Context, count int, ask func(int) error, answers *atomic.Int64) error {
	return inside(s.client, func() error {
		return evenly(ctx, count, func(i int) error {
			if err := ask(i); err != nil {
				return fmt.Errorf("number %d of %d: %w", i, count, err)
			}
			answers.Add(1)
			return nil
		})
	})
}

// inside does something on a thread that is in a network namespace: it enters it, opens its sockets there, and goes
// back. (One that cannot stays locked to its goroutine, and ends with it.)
func inside(space string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := enter(space)
		if err != nil {
			done <- err
			return
		}
		err = do()
		if failed := back(); failed != nil {
			done <- failed
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// enter takes the calling thread into the network namespace of a file.
func enter(path string) (back func() error, err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	space, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(err, home.Close())
	}
	defer space.Close()
	if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, errors.Join(fmt.Errorf("enter %s: %w", path, err), home.Close())
	}
	return func() error {
		defer home.Close()
		return unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)
	}, nil
}

// evenly does something so often, not faster than the asker's pace.
func evenly(ctx context.Context, count int, do func(int) error) error {
	pace := time.NewTicker(askerPace)
	defer pace.Stop()
	for i := range count {
		if err := do(i); err != nil {
			return err
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// dial opens a connection on the calling thread.
func (s *scene) dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, s.patience)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(s.patience))
	}
	return conn, err
}

// askName asks for a container's name or, every tenth time, for one of the world's.
func (s *scene) askName(i int) error {
	name, want := "web", s.web.String()
	if i%10 == 9 {
		name, want = worldName, beyondAddr4
	}
	conn, err := s.dial("udp", "127.0.0.11:53")
	if err != nil {
		return err
	}
	defer conn.Close()
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
	answer, _, err := (&dns.Client{Timeout: s.patience}).ExchangeWithConn(query, &dns.Conn{Conn: conn})
	if err != nil {
		return fmt.Errorf("ask for %s: %w", name, err)
	}
	if len(answer.Answer) != 1 || !strings.HasSuffix(answer.Answer[0].String(), "\t"+want) {
		return fmt.Errorf("%s is not %s: %v", name, want, answer)
	}
	return nil
}

// askPage asks the web server, at its address, for its name.
func (s *scene) askPage(int) error {
	conn, err := s.dial("tcp", netip.AddrPortFrom(s.web, 80).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /name HTTP/1.0\r\nHost: web\r\n\r\n"); err != nil {
		return err
	}
	page, err := io.ReadAll(io.LimitReader(conn, 4<<10))
	if err == nil && !strings.HasPrefix(string(page), "HTTP/1.1 200 ") {
		err = fmt.Errorf("the page is %.80q", page)
	}
	return err
}

// everyLine wants all the talker's lines, each once, whole and in order.
func everyLine(log string) error {
	all := strings.Split(log, "\n")
	for i, line := range all {
		if want := fmt.Sprintf("%07d ", i); !strings.HasPrefix(line, want) || len(line) != talkedBytes-1 {
			return fmt.Errorf("line %d of %d in the log is %.40q (%d bytes), not %q", i, len(all), line, len(line), want)
		}
	}
	if len(all) != talkedLines {
		return fmt.Errorf("the log has %d lines of %d", len(all), talkedLines)
	}
	return nil
}
