package builder

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// fakeProcess stands for the program: an HTTP server on its socket.
type fakeProcess struct {
	server *http.Server
	once   sync.Once
	done   chan struct{}
}

func (p *fakeProcess) Done() <-chan struct{} { return p.done }

func (p *fakeProcess) Stop(context.Context) {
	p.once.Do(func() {
		p.server.Close() //nolint:errcheck // a test's
		close(p.done)
	})
}

// bench is a builder whose programs are in this process.
type bench struct {
	*Builder
	made     chan wire.Image
	launched chan *fakeProcess
	announce chan wire.Image
}

func newBench(t *testing.T, idle time.Duration, refuse func() error) *bench {
	t.Helper()
	b := &bench{made: make(chan wire.Image, 1), launched: make(chan *fakeProcess, 10), announce: make(chan wire.Image, 1)}
	dir := t.TempDir()
	b.Builder = New(Options{
		Launch: func(_ context.Context, c wire.Config) (Process, error) {
			if refuse != nil {
				if err := refuse(); err != nil {
					return nil, err
				}
			}
			return b.launch(c)
		},
		Config: func() wire.Config { return wire.Config{Socket: filepath.Join(dir, "s")} },
		Built:  func() bool { return true }, Made: func(i wire.Image) { b.made <- i }, Idle: idle, Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() { b.Close(context.Background()) }) //nolint:errcheck // never fails
	return b
}

func (b *bench) launch(c wire.Config) (Process, error) {
	l, err := net.Listen("unix", c.Socket)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.PathBuild, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("options") == "bad" {
			http.Error(w, "no such thing", http.StatusBadRequest)
			return
		}
		io.Copy(w, r.Body) //nolint:errcheck // a test's
	})
	mux.HandleFunc("GET "+wire.PathUsage, func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode([]wire.Record{{ID: "r1"}}) //nolint:errcheck // a test's
	})
	mux.HandleFunc("GET "+wire.PathImages, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush() //nolint:errcheck // a test's
		select {
		case i := <-b.announce:
			json.NewEncoder(w).Encode(i) //nolint:errcheck // a test's
		case <-r.Context().Done():
		}
	})
	p := &fakeProcess{server: &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}, done: make(chan struct{})}
	go p.server.Serve(l) //nolint:errcheck // ends with Stop
	b.launched <- p
	return p, nil
}

func (b *bench) build(body, options string) (*httptest.ResponseRecorder, error) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/v1.50/build?t=x", strings.NewReader(body))
	return w, b.Forward(w, r, wire.PathBuild, url.Values{"options": {options}})
}

func TestForward(t *testing.T) {
	b := newBench(t, time.Hour, nil)
	w, err := b.build("files", "{}")
	if err != nil || w.Code != 200 || w.Body.String() != "files" {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
	if _, err := b.build("", "bad"); err == nil || err.Error() != "no such thing" || model.KindOf(err) != model.Invalid {
		t.Errorf("a refusal: %v", err)
	}
	all, err := b.Usage(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != "r1" {
		t.Errorf("usage %v %v", all, err)
	}
	if n := len(b.launched); n != 1 {
		t.Errorf("%d programs for three requests", n)
	}
	b.announce <- wire.Image{ID: "i1"}
	if i := <-b.made; i.ID != "i1" {
		t.Errorf("made %+v", i)
	}
}

// TestRest: a program that nobody uses ends, and the next request starts another.
func TestRest(t *testing.T) {
	b := newBench(t, time.Nanosecond, nil)
	for range 2 {
		if w, err := b.build("x", "{}"); err != nil || w.Body.String() != "x" {
			t.Fatalf("%s %v", w.Body, err)
		}
		<-(<-b.launched).Done()
	}
}

// TestUsedIsNotEnded: not even when it is time to rest.
func TestUsedIsNotEnded(t *testing.T) {
	b := newBench(t, time.Hour, nil)
	_, release, err := b.use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := <-b.launched
	b.rest()
	select {
	case <-p.Done():
		t.Error("ended while it is used")
	default:
	}
	release()
	b.rest()
	<-p.Done()
}

// TestDeath: after a death that nobody asked for another program clears up; one that cannot
// start is told to who asks, and tried again.
func TestDeath(t *testing.T) {
	refused := errors.New("not today")
	var mu sync.Mutex
	var refuse error
	b := newBench(t, time.Hour, func() error {
		mu.Lock()
		defer mu.Unlock()
		return refuse
	})
	if _, err := b.build("x", "{}"); err != nil {
		t.Fatal(err)
	}
	first := <-b.launched
	mu.Lock()
	refuse = refused
	mu.Unlock()
	first.Stop(t.Context())
	for r := b.join(); r != nil; r = b.join() { // until the death was noticed
		b.leave(r)
	}
	if _, err := b.build("x", "{}"); !errors.Is(err, refused) || model.KindOf(err) != model.Unavailable {
		t.Errorf("a start that fails: %v", err)
	}
	mu.Lock()
	refuse = nil
	mu.Unlock()
	<-b.launched // by itself
}

// TestDeathAfterDeath: a program that dies soon after every start is started more and more
// seldom; one that has lasted is started at once again.
func TestDeathAfterDeath(t *testing.T) {
	var b Builder
	for i, lasted := range []time.Duration{time.Hour, 0, 0, 0, 0, 0, 0, 0, 2 * time.Minute, 0} {
		want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 1, 2}[i] * time.Second
		if got := b.pause(lasted); got != want {
			t.Errorf("death %d: %s, want %s", i, got, want)
		}
	}
}

// TestNewSettings: what has changed since the program was started holds for the next build.
func TestNewSettings(t *testing.T) {
	b := newBench(t, time.Hour, nil)
	if _, err := b.build("x", "{}"); err != nil {
		t.Fatal(err)
	}
	first := <-b.launched
	old := b.o.Config
	b.o.Config = func() wire.Config {
		c := old()
		c.Registries.Insecure = []string{"reg:5000"}
		return c
	}
	for range 2 {
		if _, err := b.build("x", "{}"); err != nil {
			t.Fatal(err)
		}
	}
	<-first.Done()
	if n := len(b.launched); n != 1 {
		t.Errorf("%d programs after the change", n)
	}
}

// TestNothingBuilt: questions about a cache that is not there start nothing.
func TestNothingBuilt(t *testing.T) {
	b := newBench(t, time.Hour, nil)
	b.o.Built = func() bool { return false }
	if all, err := b.Usage(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v %v", all, err)
	}
	if p, err := b.Prune(t.Context(), wire.Prune{}); err != nil || len(p.IDs) != 0 || len(b.launched) != 0 {
		t.Errorf("%v %v, %d started", p, err, len(b.launched))
	}
}

func TestBounded(t *testing.T) {
	b := newBench(t, time.Hour, nil)
	for range maxRequests {
		b.places <- struct{}{}
	}
	if _, err := b.build("x", "{}"); model.KindOf(err) != model.Unavailable {
		t.Errorf("one more than the bound: %v", err)
	}
	for range maxRequests {
		<-b.places
	}
}
