package plugins

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// served is a plugin at a socket, until it is stopped.
func served(t *testing.T, path string) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(struct{ Implements []string }{[]string{NetworkDriver}})
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return func() { s.Close() }
}

// next waits for what is told.
func next(t *testing.T, told <-chan Change, active bool) {
	t.Helper()
	select {
	case c := <-told:
		if c.Plugin.Name != "lab" || c.Plugin.Active != active || (c.Why == nil) != active {
			t.Errorf("told is %+v", c)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("nobody is told that the plugin is there: %t", active)
	}
}

// TestLossAndReturnAreTold: a plugin that was used is missed without a call, once, and is found again by itself.
func TestLossAndReturnAreTold(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "lab.sock")
	told := make(chan Change, 10)
	r := New(Options{Places: Places{Sockets: folder}, Patience: 20 * time.Millisecond, Changed: func(c Change) { told <- c }})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.watch(ctx, time.Millisecond)
	}()
	kill := served(t, path)
	for range 2 {
		p, err := r.Get(t.Context(), "lab", NetworkDriver)
		if err != nil {
			t.Fatal(err)
		}
		kill()
		next(t, told, false)
		if err := p.CallOnce(t.Context(), NetworkDriver+".Leave", nil, nil); !Away(err) {
			t.Errorf("of a plugin that is away: %v", err)
		}
		if l := r.List(); len(l) != 1 || l[0].Active {
			t.Errorf("listed: %+v", l)
		}
		kill = served(t, path)
		next(t, told, true)
		if l := r.List(); len(l) != 1 || !l[0].Active {
			t.Errorf("listed: %+v", l)
		}
	}
	stop()
	<-done
	if len(told) > 0 {
		t.Errorf("told besides: %+v", <-told)
	}
}

// TestLossIsToldByACall: a call that does not reach its plugin tells so, too.
func TestLossIsToldByACall(t *testing.T) {
	folder := t.TempDir()
	told := make(chan Change, 10)
	r := New(Options{Places: Places{Sockets: folder}, Patience: 20 * time.Millisecond, Changed: func(c Change) { told <- c }})
	kill := served(t, filepath.Join(folder, "lab.sock"))
	p, err := r.Get(t.Context(), "lab", NetworkDriver)
	if err != nil {
		t.Fatal(err)
	}
	kill()
	for range 3 {
		if err := p.CallOnce(t.Context(), NetworkDriver+".Leave", nil, nil); !Away(err) {
			t.Errorf("of a plugin that is away: %v", err)
		}
	}
	next(t, told, false)
	if len(told) > 0 {
		t.Errorf("told twice: %+v", <-told)
	}
}
