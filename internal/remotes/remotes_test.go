package remotes

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// fakeHost is a host with an engine, and its node. Its manager is the host that is asked.
type fakeHost struct {
	now     *state.Snapshot
	manager *fakeHost

	mu     sync.Mutex // guards the fields below
	self   Self
	member bool
	known  facts.Set
	serve  func(context.Context, net.Conn, string)
}

func (h *fakeHost) Snapshot() *state.Snapshot { return h.now }

func (h *fakeHost) Facts() facts.Set {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known
}

// change changes what is guarded.
func (h *fakeHost) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func (h *fakeHost) Learn(_ context.Context, learned ...facts.Fact) error {
	h.change(func() { h.known = h.known.With(learned...) })
	return nil
}

func (h *fakeHost) Self() (Self, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.self, h.member
}

func (h *fakeHost) Dial(context.Context, string) (net.Conn, error) {
	h.manager.mu.Lock()
	serve := h.manager.serve
	h.manager.mu.Unlock()
	if serve == nil {
		return nil, errors.New("nobody listens")
	}
	ours, theirs := net.Pipe()
	self, _ := h.Self()
	go serve(context.Background(), theirs, self.ID)
	return ours, nil
}

func (h *fakeHost) Serve(ctx context.Context, serve func(context.Context, net.Conn, string)) error {
	h.change(func() { h.serve = serve })
	<-ctx.Done()
	h.change(func() { h.serve = nil })
	return ctx.Err()
}

func (*fakeHost) Holds(context.Context, model.Remote) (held, known bool) { return true, true }

// host returns one that has a container on the network "ov".
func host(name string, n byte) *fakeHost {
	tx := state.Begin(state.Empty(), facts.Set{})
	tx.PutNetwork(model.Network{ID: "ov", Name: "ov", Driver: model.DriverOverlay, Scope: model.ScopeSwarm, IPv4: true})
	tx.PutSandbox(model.Sandbox{ID: model.SandboxID("s" + name), Container: model.ContainerID("c" + name), Name: name, Up: true})
	tx.PutEndpoint(model.Endpoint{ID: model.EndpointID("e" + name), Network: "ov", Sandbox: model.SandboxID("s" + name), Up: true,
		Addr4: netip.AddrFrom4([4]byte{10, 0, 1, n}), Aliases: []string{"any"}})
	now, _ := tx.Commit()
	h := &fakeHost{now: now, member: true, self: Self{ID: "id-" + name, Name: "host-" + name, VTEP: netip.AddrFrom4([4]byte{192, 0, 2, n}), Port: 4789, MTU: 1500, Managers: []string{"m"}}}
	return h
}

// TestTwoHosts: each learns what the other has, a restart knows it at once, and who leaves
// is forgotten, and forgets.
func TestTwoHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := host("one", 1), host("two", 2)
		one.self.Manager, one.manager, two.manager = true, one, one
		file := filepath.Join(t.TempDir(), "remotes.json")
		start := func(h *fakeHost, file string) *Manager {
			m := New(Options{Engine: h, Node: h, File: file, Logger: slog.New(slog.DiscardHandler)})
			m.Start(t.Context())
			return m
		}
		a, b := start(one, file+"1"), start(two, file)
		pass(time.Second)
		got := two.Facts().Overlay("ov")
		if got.Local != two.self.VTEP || got.MTU != 1450 || len(got.Remotes) != 1 || got.Remotes[0].VTEP != one.self.VTEP || len(got.Peers) != 2 {
			t.Fatalf("two knows %+v", got)
		}
		if names := got.Remotes[0].Names; len(names) < 2 || names[0] != "one" || names[1] != "any" {
			t.Errorf("names %v", names)
		}
		b.Close()
		two.change(func() { two.self.ID, two.known = "", facts.Set{} }) // the daemon starts, its node is not there yet
		b = start(two, file)
		synctest.Wait()
		if o := one.Facts().Overlay("ov"); len(o.Remotes) != 1 {
			t.Errorf("a daemon that restarts is forgotten: %+v", o)
		}
		two.change(func() { two.self.ID = "id-two" })
		b.Wake()
		synctest.Wait()
		if o := two.Facts().Overlay("ov"); len(o.Remotes) != 1 {
			t.Errorf("a daemon that starts knows %+v", o)
		}
		pass(time.Second)
		two.change(func() { two.member = false })
		b.Wake()
		pass(time.Second)
		if o, p := one.Facts().Overlay("ov"), two.Facts().Overlay("ov"); len(o.Remotes) != 0 || !p.Empty() {
			t.Errorf("two has left: %+v, %+v", o, p)
		}
		b.Close()
		a.Close()
	})
}

// TestEncrypted: hosts on an encrypted network tell one another their keys, and only there; a
// key that changed is told, one that cannot be had keeps the host out, and the private one
// goes with the swarm.
func TestEncrypted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := host("one", 1), host("two", 2)
		one.self.Manager, one.manager, two.manager = true, one, one
		one.seal("secret", 1)
		two.seal("secret", 2)
		keys := map[*fakeHost]string{one: wgKey(1), two: wgKey(2)}
		dir := t.TempDir()
		start := func(h *fakeHost, name string) *Manager {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file+".key", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			m := New(Options{Engine: h, Node: h, File: file, KeyFile: file + ".key", Logger: slog.New(slog.DiscardHandler), Key: func() (string, error) {
				if keys[h] == "" {
					return "", errors.New("no key")
				}
				return keys[h], nil
			}})
			m.Start(t.Context())
			return m
		}
		a, b := start(one, "one"), start(two, "two")
		pass(time.Second)
		got := one.Facts().Overlay("secret")
		if got.MTU != 1390 || got.Tunnel != (facts.Tunnel{Port: 4790, PublicKey: wgKey(1), KeyFile: filepath.Join(dir, "one.key")}) {
			t.Errorf("one takes part by %+v", got)
		}
		if len(got.Remotes) != 1 || got.Remotes[0].PublicKey != wgKey(2) {
			t.Errorf("one knows %+v", got.Remotes)
		}
		if o := one.Facts().Overlay("ov"); o.MTU != 1450 || o.Tunnel != (facts.Tunnel{}) || len(o.Remotes) != 1 || o.Remotes[0].PublicKey != "" {
			t.Errorf("and in clear %+v", o)
		}
		b.Close()
		keys[two] = wgKey(3)
		b = start(two, "two")
		pass(time.Second)
		if o := one.Facts().Overlay("secret"); len(o.Remotes) != 1 || o.Remotes[0].PublicKey != wgKey(3) {
			t.Errorf("another key is not followed: %+v", o.Remotes)
		}
		b.Close()
		keys[two] = ""
		b = start(two, "two")
		pass(time.Second)
		if o := two.Facts().Overlay("secret"); o.Tunnel != (facts.Tunnel{}) {
			t.Errorf("without a key: %+v", o)
		}
		two.change(func() { two.member = false })
		b.Wake()
		pass(time.Second)
		if _, err := os.Stat(filepath.Join(dir, "two.key")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the private key is still there: %v", err)
		}
		b.Close()
		a.Close()
	})
}

// wgKey is a public key, of no private one that is known.
func wgKey(n byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32)) }

// seal adds an encrypted network, with the container on it.
func (h *fakeHost) seal(id model.NetworkID, n byte) {
	tx := state.Begin(h.now, facts.Set{})
	tx.PutNetwork(model.Network{ID: id, Name: string(id), Driver: model.DriverOverlay, Scope: model.ScopeSwarm, IPv4: true, Options: map[string]string{model.OptionEncrypted: ""}})
	for sb := range h.now.Sandboxes() {
		tx.PutEndpoint(model.Endpoint{ID: model.EndpointID("e2" + sb.Name), Network: id, Sandbox: sb.ID, Up: true, Addr4: netip.AddrFrom4([4]byte{10, 0, 2, n})})
	}
	h.now, _ = tx.Commit()
}

// pass lets time go by, which costs none in a bubble.
func pass(d time.Duration) {
	time.Sleep(d) // in a bubble of synctest: the clock goes on when nobody has anything to do
}
