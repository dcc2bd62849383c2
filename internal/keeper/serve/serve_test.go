package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// holdings is everything that a server passes calls on to.
type holdings struct {
	mu       sync.Mutex
	said     []string
	outputs  []model.Output
	clients  []*client
	files    []wire.Descriptor
	released bool
	full     atomic.Bool
	fail     error

	inventory *wire.Inventory // what is released; nil: one output
}

func (h *holdings) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, what)
}

func (h *holdings) heard() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.said)
}

func (h *holdings) Apply(_ context.Context, deltas []desired.Delta) error {
	h.note("apply " + deltas[0].Key().Name)
	return nil
}

func (h *holdings) Resync(_ context.Context, want desired.State) (desired.Report, error) {
	h.note("resync")
	return desired.Report{Drift: []string{"one"}, Writes: want.Len()}, nil
}

func (h *holdings) Check(context.Context, desired.State) (desired.Report, error) {
	return desired.Report{}, nil
}

func (h *holdings) Open(_ context.Context, o model.Output) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outputs = append(h.outputs, o)
	return h.fail
}

func (h *holdings) Begun(id model.ContainerID) { h.note("begun " + string(id)) }

func (h *holdings) Drain(ctx context.Context, id model.ContainerID) error {
	<-ctx.Done()
	return ctx.Err()
}

func (h *holdings) Close(id model.ContainerID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outputs = slices.DeleteFunc(h.outputs, func(o model.Output) bool { return o.Container == id })
	return nil
}

func (h *holdings) List() []model.Output {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.outputs)
}

func (h *holdings) Follow(id model.ContainerID, stdout, stderr bool) Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &client{pieces: make(chan string, 10), over: make(chan error, 1)}
	h.clients = append(h.clients, c)
	return c
}

// client gives what a test puts into it.
type client struct {
	pieces chan string
	over   chan error
}

func (c *client) Joined() time.Time { return time.Unix(1, 0).UTC() }
func (c *client) Close()            {}

func (c *client) Next(ctx context.Context) (string, []byte, error) {
	select {
	case p := <-c.pieces:
		return "stdout", []byte(p), nil
	default:
	}
	select {
	case p := <-c.pieces:
		return "stdout", []byte(p), nil
	case err := <-c.over:
		return "", nil, err
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
}

func (h *holdings) Release() (wire.Inventory, []wire.Descriptor, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = true
	for _, c := range h.clients {
		c.over <- model.Errorf(model.Unavailable, "replaced")
	}
	if h.inventory != nil {
		return *h.inventory, h.files, h.fail
	}
	return wire.Inventory{Outputs: []wire.HandedOutput{{Output: model.Output{Container: "c1"}}}}, h.files, h.fail
}

func (h *holdings) Adopt(i wire.Inventory, d []wire.Descriptor) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released, h.files = false, d
	for _, o := range i.Outputs {
		h.outputs = append(h.outputs, o.Output)
	}
	return nil
}

func (h *holdings) Empty() bool { return !h.full.Load() }

func (h *holdings) newest(t *testing.T) *client {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.clients) == 0 {
		t.Fatal("no client")
	}
	return h.clients[len(h.clients)-1]
}

// keeper is a server on a socket.
type keeper struct {
	*holdings
	server *Server
	path   string
	done   chan error
}

func serve(t *testing.T, path string, i *Inheritance) *keeper {
	t.Helper()
	h := &holdings{}
	k := &keeper{holdings: h, path: path, done: make(chan error, 1)}
	k.server = New(Options{Rows: h, Outputs: h, Follower: h, Estate: h, Hello: wire.Hello{Version: wire.Version, Pid: os.Getpid()}})
	if i != nil {
		if err := k.server.Adopt(i); err != nil {
			t.Fatal(err)
		}
	}
	os.Remove(path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { k.done <- k.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-k.done:
		case <-time.After(10 * time.Second):
			t.Error("the server does not end")
		}
	})
	return k
}

func (k *keeper) ended(t *testing.T) {
	t.Helper()
	select {
	case err := <-k.done:
		if err != nil {
			t.Error(err)
		}
		k.done <- nil
	case <-time.After(10 * time.Second):
		t.Fatal("the keeper does not end")
	}
}

func path(t *testing.T) string { return filepath.Join(t.TempDir(), "k.sock") }

func dial(t *testing.T, path string) *wire.Conn {
	t.Helper()
	c, err := wire.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); c.Drop() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func ask(t *testing.T, c *wire.Conn, v wire.Verb, body any) wire.Answer {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(wire.Request{ID: 7, Verb: v, Body: raw}); err != nil {
		t.Fatal(err)
	}
	var a wire.Answer
	if _, err := c.Receive(&a); err != nil || a.ID != 7 {
		t.Fatalf("%s: answer %+v, %v", v, a, err)
	}
	return a
}

func TestCalls(t *testing.T) {
	k := serve(t, path(t), nil)
	c := dial(t, k.path)
	row := desired.Name{Network: "n", Name: "web", Endpoint: "e"}
	packed, _ := wire.PackRow("o", row)
	if a := ask(t, c, wire.VerbHello, nil); !strings.Contains(string(a.Body), fmt.Sprintf(`"version":%d`, wire.Version)) {
		t.Errorf("hello: %s", a.Body)
	}
	if a := ask(t, c, wire.VerbApply, wire.Changes{Deltas: []wire.Delta{{Owner: "o", New: &packed}}}); a.Error != nil {
		t.Errorf("apply: %+v", a.Error)
	}
	if a := ask(t, c, wire.VerbResync, wire.Rows{Rows: []wire.Row{packed}}); string(a.Body) != `{"drift":["one"],"writes":1}` {
		t.Errorf("resync: %s", a.Body)
	}
	for _, id := range []model.ContainerID{"c1", "c2", "c3"} {
		ask(t, c, wire.VerbOpen, model.Output{Container: id})
	}
	ask(t, c, wire.VerbBegun, wire.Subject{Container: "c1"})
	ask(t, c, wire.VerbClose, wire.Subject{Container: "c2"})
	ask(t, c, wire.VerbKeep, wire.Subjects{Containers: []model.ContainerID{"c3"}})
	if l := k.List(); len(l) != 1 || l[0].Container != "c3" {
		t.Errorf("outputs %v", l)
	}
	if got := k.heard(); !slices.Equal(got, []string{"apply " + row.Key().Name, "resync", "begun c1"}) {
		t.Errorf("heard %q", got)
	}
	for verb, body := range map[wire.Verb]any{"nonsense": nil, wire.VerbApply: 5, wire.VerbResync: wire.Rows{Rows: []wire.Row{{}}}} {
		if a := ask(t, c, verb, body); a.Error == nil || model.KindOf(a.Error.Unpack()) != model.Invalid {
			t.Errorf("%s: %+v", verb, a)
		}
	}
	k.mu.Lock()
	k.fail = model.Errorf(model.Conflict, "no")
	k.mu.Unlock()
	if a := ask(t, c, wire.VerbOpen, model.Output{}); a.Error == nil || model.KindOf(a.Error.Unpack()) != model.Conflict {
		t.Errorf("open: %+v", a)
	}
}

// TestBye: a keeper that holds nothing ends with its daemon, another does not.
func TestBye(t *testing.T) {
	k := serve(t, path(t), nil)
	k.full.Store(true)
	ask(t, dial(t, k.path), wire.VerbBye, nil)
	k.full.Store(false)
	ask(t, dial(t, k.path), wire.VerbHello, nil)
	ask(t, dial(t, k.path), wire.VerbBye, nil)
	k.ended(t)
}

// soon waits for a condition.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not seen: %s", what)
		}
	}
}

// asClient makes a connection a client's.
func asClient(t *testing.T, k *keeper) (*wire.Conn, *bufio.Reader) {
	t.Helper()
	c := dial(t, k.path)
	if a := ask(t, c, wire.VerbFollow, wire.Follow{Container: "c1", Stdout: true}); string(a.Body) != `{"at":"1970-01-01T00:00:01Z"}` {
		t.Fatalf("follow: %s", a.Body)
	}
	return c, bufio.NewReader(c.Rest())
}

func expect(t *testing.T, from io.Reader, kind byte, text string) {
	t.Helper()
	k, data, err := wire.ReadPiece(from, nil)
	if err != nil || k != kind || !strings.Contains(string(data), text) {
		t.Fatalf("piece %d %q %v, want %d %q", k, data, err, kind, text)
	}
}

func TestFollow(t *testing.T) {
	k := serve(t, path(t), nil)
	_, from := asClient(t, k)
	k.newest(t).pieces <- "hello"
	expect(t, from, wire.PieceStdout, "hello")
	k.newest(t).over <- io.EOF
	expect(t, from, wire.PieceEnd, "")
	_, from = asClient(t, k)
	k.newest(t).over <- model.Errorf(model.Unavailable, "too slow")
	expect(t, from, wire.PieceError, "too slow")
}

// TestHandOver: descriptors and clients go to the next keeper, which is told all
// that was held; the old one ends.
func TestHandOver(t *testing.T) {
	old := serve(t, path(t), nil)
	for range 300 { // more than one frame takes
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "text")
		w.Close()
		old.files = append(old.files, wire.Descriptor{File: r, Label: wire.Label{Kind: wire.LabelStdout, For: "c1"}})
	}
	_, from := asClient(t, old)
	old.newest(t).pieces <- "last words"
	i, err := Inherit(old.path)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, from, wire.PieceStdout, "last words")
	if a := ask(t, dial(t, old.path), wire.VerbOpen, model.Output{}); a.Error == nil || model.KindOf(a.Error.Unpack()) != model.Unavailable {
		t.Errorf("a call during the hand-over: %+v", a)
	}
	next := serve(t, old.path, i)
	if err := i.Taken(); err != nil {
		t.Fatal(err)
	}
	old.ended(t)
	if len(next.files) != 300 || len(next.List()) != 1 {
		t.Fatalf("%d descriptors and %d outputs were taken over", len(next.files), len(next.List()))
	}
	for _, d := range next.files {
		text, err := io.ReadAll(d.File)
		if string(text) != "text" || d.Label.For != "c1" {
			t.Fatalf("%+v reads %q, %v", d.Label, text, err)
		}
		d.File.Close()
	}
	next.newest(t).pieces <- "go on"
	expect(t, from, wire.PieceStdout, "go on")
	next.newest(t).over <- io.EOF
	expect(t, from, wire.PieceEnd, "")
}

// TestHandOverIsAnswered: a daemon that asks who is there while a keeper retires
// does not cost its successor the answer, however late that is read.
func TestHandOverIsAnswered(t *testing.T) {
	old := serve(t, path(t), nil)
	daemon := dial(t, old.path)
	ask(t, daemon, wire.VerbHello, nil)
	i, err := Inherit(old.path)
	if err != nil {
		t.Fatal(err)
	}
	defer i.drop()
	const last = 2000 // more answers than a socket holds
	for id := range uint64(last) {
		if err := i.conn.Send(wire.Request{ID: id, Verb: wire.VerbHello}); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.conn.Send(wire.Request{ID: last, Verb: wire.VerbTaken}); err != nil {
		t.Fatal(err)
	}
	soon(t, "the end of the listener", func() bool {
		c, err := wire.Dial(old.path)
		if err == nil {
			c.Close()
			c.Drop()
		}
		return err != nil
	})
	ask(t, daemon, wire.VerbHello, nil)
	for answer := (wire.Answer{}); answer.ID != last; {
		if _, err := i.conn.Receive(&answer); err != nil {
			t.Fatalf("the successor is not answered: %v", err)
		}
	}
	old.ended(t)
}

// TestHandOverBreaksOff: if the next keeper dies before it serves, the old one
// goes on, with the same clients.
func TestHandOverBreaksOff(t *testing.T) {
	k := serve(t, path(t), nil)
	_, from := asClient(t, k)
	first := k.newest(t)
	i, err := Inherit(k.path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Inherit(k.path); model.KindOf(err) != model.Conflict {
		t.Errorf("a second successor: %v", err)
	}
	i.drop()
	soon(t, "a new client", func() bool { return k.newest(t) != first })
	k.newest(t).pieces <- "still here"
	expect(t, from, wire.PieceStdout, "still here")
	soon(t, "service", func() bool {
		return ask(t, dial(t, k.path), wire.VerbOpen, model.Output{Container: "c9"}).Error == nil
	})
	if i.Taken() == nil {
		t.Error("a successor that has gone takes over")
	}
}
