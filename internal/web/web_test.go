package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/diagnose"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// daemon is one whose state a test sets.
type daemon struct {
	mu    sync.Mutex
	state privateapi.State
	away  error
	drift privateapi.Drift
	top   chan privateapi.Top
}

func newDaemon(networks, containers int) *daemon {
	d := &daemon{top: make(chan privateapi.Top)}
	d.change(func(s *privateapi.State) {
		s.Daemon = privateapi.Daemon{Version: "1.2.3", Pid: 7, FirewallBackend: "nftables"}
		for n := range networks {
			s.Networks = append(s.Networks, networkOf(n))
		}
		for c := range containers {
			s.Containers = append(s.Containers, container(c, c%networks))
		}
	})
	return d
}

func networkOf(n int) privateapi.Network {
	return privateapi.Network{ID: id("n", n), Name: "net" + number(n), Driver: "bridge", Named: true,
		Subnets: []privateapi.Subnet{{Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n), 0, 0}), 16)}}}
}

func container(c, n int) privateapi.Container {
	a := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n), byte(c >> 8), byte(c)}), 16)
	return privateapi.Container{ID: id("c", c), Name: "box" + number(c), Up: true, Namespace: "/run/netns/x",
		Networks: []privateapi.Member{{Network: "net" + number(n), NetworkID: id("n", n), Interface: "eth0", Up: true, Addresses: []privateapi.Address{{Address: a}}}},
		Ports:    []privateapi.Binding{{Protocol: "tcp", Host: netip.IPv4Unspecified(), HostPort: uint16(8000 + c), ContainerPort: 80, Count: 1}}}
}

func id(kind string, n int) string {
	return kind + strings.Repeat("0", 59) + number(n)
}

func number(n int) string {
	return string([]byte{byte('0' + n/1000%10), byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)})
}

func (d *daemon) change(f func(*privateapi.State)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.Networks, d.state.Containers = slices.Clone(d.state.Networks), slices.Clone(d.state.Containers)
	f(&d.state)
	d.state.Revision++
}

func (d *daemon) leave(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = err
}

func (d *daemon) State(context.Context) (privateapi.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state, d.away
}

func (d *daemon) Top(ctx context.Context, _ time.Duration, _ int, each func(privateapi.Top) error) error {
	for {
		select {
		case t := <-d.top:
			if err := each(t); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *daemon) Diff(context.Context) (privateapi.Drift, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.drift, d.away
}

func (d *daemon) Container(_ context.Context, ref string) (privateapi.Container, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.state.Containers {
		if c.ID == ref || c.Name == ref {
			c.State = "running"
			return c, nil
		}
	}
	return privateapi.Container{}, model.Errorf(model.NotFound, "No such container: %s", ref)
}

func (d *daemon) Explain(_ context.Context, target, _, _ string) (privateapi.Path, error) {
	return privateapi.Path{Verdict: "accepted: to " + target}, nil
}

func (d *daemon) Rules(context.Context) ([]privateapi.Asker, error) {
	return []privateapi.Asker{{Kind: "network", Name: "net0000", ID: id("n", 0), Rules: []privateapi.Rule{{Text: "its containers may talk to one another"}}}}, nil
}

const token = "0123456789abcdef"

// serve serves a page of a daemon on a loopback address.
func serve(t *testing.T, o Options) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(Handler(o))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func get(t *testing.T, s *httptest.Server, path string, change func(*http.Request)) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if change != nil {
		change(r)
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// TestWhoMayLook: what is told needs the token, and nobody is led here by a name of his own.
func TestWhoMayLook(t *testing.T) {
	s := serve(t, Options{Daemon: newDaemon(1, 1), Token: token})
	for name, c := range map[string]struct {
		path   string
		change func(*http.Request)
		want   int
	}{
		"the page is no secret":     {"/", func(r *http.Request) { r.Header.Del("Authorization") }, 200},
		"its program":               {"/app.js", func(r *http.Request) { r.Header.Del("Authorization") }, 200},
		"nothing else is there":     {"/web.go", nil, 404},
		"with the token":            {"/api/container?ref=box0000", nil, 200},
		"without":                   {"/api/container?ref=box0000", func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		"with another":              {"/api/container?ref=box0000", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token+"0") }, 401},
		"in another scheme":         {"/api/container?ref=box0000", func(r *http.Request) { r.Header.Set("Authorization", token) }, 401},
		"watching, without":         {"/api/watch", func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		"by a name that leads here": {"/api/container?ref=box0000", func(r *http.Request) { r.Host = "evil.example" }, 403},
		"the page, by such a name":  {"/", func(r *http.Request) { r.Host = "127.0.0.1.evil.example:80" }, 403},
		"by localhost":              {"/api/container?ref=box0000", func(r *http.Request) { r.Host = "localhost:8377" }, 200},
		"by IPv6":                   {"/api/container?ref=box0000", func(r *http.Request) { r.Host = "[::1]:8377" }, 200},
		"for another site":          {"/api/container?ref=box0000", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"for a neighbour's page":    {"/api/container?ref=box0000", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		"nobody of that name":       {"/api/container?ref=nobody", nil, 404},
		"too much":                  {"/api/container?ref=" + strings.Repeat("x", maxWord+1), nil, 400},
		"nothing is changed by it":  {"/api/container", func(r *http.Request) { r.Method = http.MethodPost }, 405},
		"no tracer":                 {"/api/trace?from=a&to=b", nil, 501},
	} {
		resp := get(t, s, c.path, c.change)
		if resp.StatusCode != c.want || !strings.HasPrefix(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d, want %d; %v", name, resp.StatusCode, c.want, resp.Header)
		}
	}
}

// TestWatch: a page is told of all that there is, and of what changes, and when the daemon is away and back.
func TestWatch(t *testing.T) {
	d := newDaemon(2, 3)
	happened := make(chan Event)
	s := serve(t, Options{Daemon: d, Token: token, Refresh: time.Millisecond, Events: func(ctx context.Context, each func(Event)) error {
		for {
			select {
			case e := <-happened:
				each(e)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}})
	lines := json.NewDecoder(bufio.NewReader(get(t, s, "/api/watch", nil).Body))
	next := func(fits func(Message) bool) {
		t.Helper()
		for {
			var m Message
			if err := lines.Decode(&m); err != nil {
				t.Fatal(err)
			}
			if fits(m) {
				return
			}
		}
	}
	next(func(m Message) bool {
		return m.State != nil && len(m.State.Networks) == 2 && len(m.State.Containers) == 3
	})
	d.change(func(s *privateapi.State) { s.Networks = append(s.Networks, networkOf(2)) })
	next(func(m Message) bool { return m.State != nil && len(m.State.Networks) == 3 })
	d.top <- privateapi.Top{Version: privateapi.TopVersion}
	next(func(m Message) bool { return m.Top != nil })
	happened <- Event{Type: "network", Action: "create", Name: "net0002"}
	next(func(m Message) bool { return m.Event != nil && m.Event.Name == "net0002" })
	d.leave(&privateapi.Away{Socket: "/x", Err: errors.New("nobody listens")})
	next(func(m Message) bool { return strings.Contains(m.Away, "nobody listens") })
	d.leave(nil)
	next(func(m Message) bool { return m.State != nil && len(m.State.Networks) == 3 })
}

// TestBounds: pages and traces are so many at a time, and a place is free again after them.
func TestBounds(t *testing.T) {
	enter, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, Options{Daemon: newDaemon(1, 1), Trace: func(context.Context, string, string) (diagnose.Report, error) {
		enter <- struct{}{}
		<-leave
		return diagnose.Report{Outcome: diagnose.Reachable}, nil
	}})
	var traced sync.WaitGroup
	for range maxTraces {
		traced.Go(func() {
			if resp, err := s.Client().Get(s.URL + "/api/trace?" + url.Values{"from": {"a"}, "to": {"b"}}.Encode()); err != nil || resp.Body.Close() != nil || resp.StatusCode != 200 {
				t.Errorf("%v, %v", resp, err)
			}
		})
		<-enter
	}
	if resp := get(t, s, "/api/trace?from=a&to=b", nil); resp.StatusCode != 503 {
		t.Errorf("one trace too many: %s", resp.Status)
	}
	close(leave)
	traced.Wait()
	for range maxWatchers {
		if resp := get(t, s, "/api/watch", nil); resp.StatusCode != 200 {
			t.Errorf("a page: %s", resp.Status)
		}
	}
	if resp := get(t, s, "/api/watch", nil); resp.StatusCode != 503 {
		t.Errorf("one page too many: %s", resp.Status)
	}
}
