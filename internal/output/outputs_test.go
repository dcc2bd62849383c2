package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/output/jsonlog"
)

const id = model.ContainerID("0123456789abcdef")

// saidLog collects what is logged.
type saidLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *saidLog) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *saidLog) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func newOutputs(t *testing.T, o Options) *Outputs {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	out := New(o)
	t.Cleanup(func() {
		for _, h := range out.Release() {
			closeAll(h.Files)
		}
	})
	return out
}

func closeAll(files map[string]*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// fifos makes a container's FIFOs and says where its log is.
func fifos(t *testing.T) model.Output {
	t.Helper()
	dir := t.TempDir()
	out := model.Output{Container: id, Log: filepath.Join(dir, "c-json.log"),
		Pipes: model.Pipes{Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr")}}
	remake(t, out)
	return out
}

func remake(t *testing.T, out model.Output) {
	t.Helper()
	for _, path := range []string{out.Pipes.Stdout, out.Pipes.Stderr} {
		os.Remove(path)
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// writer opens a process's end of a FIFO.
func writer(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func open(t *testing.T, o *Outputs, out model.Output) {
	t.Helper()
	if err := o.Open(t.Context(), out); err != nil {
		t.Fatal(err)
	}
}

func print(t *testing.T, to io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		t.Fatal(err)
	}
}

// within bounds what a test waits for.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func drain(t *testing.T, o *Outputs) {
	t.Helper()
	if err := o.Drain(within(t), id); err != nil {
		t.Fatal(err)
	}
}

func closeOutput(t *testing.T, o *Outputs) {
	t.Helper()
	if err := o.Close(id); err != nil {
		t.Fatal(err)
	}
}

// texts collects text by stream.
type texts map[string]*strings.Builder

func (t texts) add(stream string, text []byte) {
	if t[stream] == nil {
		t[stream] = &strings.Builder{}
	}
	t[stream].Write(text)
}

func (t texts) all() map[string]string {
	out := map[string]string{}
	for stream, text := range t {
		out[stream] = text.String()
	}
	return out
}

// everything reads a client to its end: text by stream, and the error.
func everything(ctx context.Context, c *Client) (map[string]string, error) {
	out := texts{}
	for {
		stream, data, err := c.Next(ctx)
		if err != nil {
			return out.all(), err
		}
		out.add(stream, data)
	}
}

// logged reads a log: text by stream.
func logged(t *testing.T, path string, until time.Time) map[string]string {
	t.Helper()
	r, err := jsonlog.Read(path, jsonlog.ReadOptions{Tail: -1, Until: until})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out := texts{}
	for {
		e, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return out.all()
		}
		if err != nil {
			t.Fatal(err)
		}
		out.add(e.Stream, e.Line)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) { // poll
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestOutputGoesToLogAndClients(t *testing.T) {
	o, out := newOutputs(t, Options{}), fifos(t)
	open(t, o, out)
	both, onlyErr := o.Follow(id, true, true), o.Follow(id, false, true)
	defer both.Close()
	defer onlyErr.Close()
	stdout, stderr := writer(t, out.Pipes.Stdout), writer(t, out.Pipes.Stderr)
	o.Begun(id)
	print(t, stdout, "one\ntwo")
	print(t, stderr, "bad\n")
	stdout.Close()
	stderr.Close()
	drain(t, o)
	want := map[string]string{"stdout": "one\ntwo", "stderr": "bad\n"}
	if got := logged(t, out.Log, time.Time{}); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("log %q", got)
	}
	closeOutput(t, o)
	if got, err := everything(within(t), both); !errors.Is(err, io.EOF) || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("client of both: %q %v", got, err)
	}
	delete(want, "stdout")
	if got, err := everything(within(t), onlyErr); !errors.Is(err, io.EOF) || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("client of stderr: %q %v", got, err)
	}
}

func TestNoEndBeforeBegun(t *testing.T) {
	o, out := newOutputs(t, Options{}), fifos(t)
	open(t, o, out)
	for range 2 { // a shim that opens its ends more than once
		w := writer(t, out.Pipes.Stdout)
		print(t, w, "x\n")
		w.Close()
	}
	eventually(t, "both lines logged", func() bool { return logged(t, out.Log, time.Time{})["stdout"] == "x\nx\n" })
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := o.Drain(soon, id); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained before begun: %v", err)
	}
	o.Begun(id)
	drain(t, o)
}

func TestClientsStayAcrossRuns(t *testing.T) {
	o, out := newOutputs(t, Options{}), fifos(t)
	c := o.Follow(id, true, true) // before the first run
	defer c.Close()
	for _, text := range []string{"first", "second"} {
		open(t, o, out)
		w := writer(t, out.Pipes.Stdout)
		o.Begun(id)
		print(t, w, text)
		writer(t, out.Pipes.Stderr).Close()
		w.Close()
		drain(t, o)
		remake(t, out)
	}
	closeOutput(t, o)
	if got, err := everything(within(t), c); !errors.Is(err, io.EOF) || got["stdout"] != "firstsecond" {
		t.Errorf("got %q %v", got, err)
	}
	if got := logged(t, out.Log, time.Time{})["stdout"]; got != "firstsecond" {
		t.Errorf("log %q", got)
	}
}

func TestOpenTwiceIsOnce(t *testing.T) {
	o, out := newOutputs(t, Options{}), fifos(t)
	open(t, o, out)
	w := writer(t, out.Pipes.Stdout)
	print(t, w, "half")
	open(t, o, out)
	print(t, w, " line\n")
	eventually(t, "the line is logged in one", func() bool { return logged(t, out.Log, time.Time{})["stdout"] == "half line\n" })
	if got := o.List(); len(got) != 1 || got[0].Container != id {
		t.Errorf("list %v", got)
	}
	closeOutput(t, o)
	closeOutput(t, o)
	if got := o.List(); len(got) != 0 {
		t.Errorf("list after close %v", got)
	}
	if err := o.Drain(t.Context(), id); err != nil {
		t.Errorf("drain of what is not open: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	o, good := newOutputs(t, Options{}), fifos(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, pipes := range map[string]model.Pipes{
		"no FIFO":            {Stdout: file},
		"nothing there":      {Stdout: file + "x"},
		"only one is there":  {Stdout: good.Pipes.Stdout, Stderr: file + "x"},
		"a folder, no stdin": {Stderr: filepath.Dir(file)},
	} {
		if err := o.Open(t.Context(), model.Output{Container: id, Pipes: pipes}); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if len(o.containers) != 0 {
		t.Errorf("kept %v", o.containers)
	}
}

func TestNothingIsKeptWithoutUse(t *testing.T) {
	o, out := newOutputs(t, Options{}), fifos(t)
	a, b := o.Follow(id, true, true), o.Follow(id, true, true)
	open(t, o, out)
	a.Close()
	a.Close()
	closeOutput(t, o)
	if len(o.containers) != 1 {
		t.Errorf("%d containers while a client is there", len(o.containers))
	}
	b.Close()
	o.Begun("other")
	if len(o.containers) != 0 {
		t.Errorf("%d containers left", len(o.containers))
	}
}

func TestCloseEndsEvenWithoutOpen(t *testing.T) {
	o := newOutputs(t, Options{})
	c := o.Follow(id, true, true)
	defer c.Close()
	closeOutput(t, o)
	if _, _, err := c.Next(within(t)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	again := o.Follow(id, true, true) // for the next run
	defer again.Close()
	over, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if _, _, err := again.Next(over); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}

func TestNoLog(t *testing.T) {
	o, out := newOutputs(t, Options{}), fifos(t)
	path := out.Log
	out.Log = ""
	open(t, o, out)
	c := o.Follow(id, true, true)
	defer c.Close()
	print(t, writer(t, out.Pipes.Stdout), "text")
	if _, data, err := c.Next(within(t)); err != nil || string(data) != "text" {
		t.Errorf("got %q %v", data, err)
	}
	closeOutput(t, o)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a log was made: %v", err)
	}
}

func TestFullDiskCostsTheLogOnly(t *testing.T) {
	said := &saidLog{}
	o, out := newOutputs(t, Options{Logger: slog.New(slog.NewTextHandler(said, nil))}), fifos(t)
	out.Log = "/dev/full"
	open(t, o, out)
	c := o.Follow(id, true, true)
	defer c.Close()
	w := writer(t, out.Pipes.Stdout)
	var got string
	for range 100 {
		print(t, w, "line\n")
		_, data, err := c.Next(within(t))
		if err != nil {
			t.Fatal(err)
		}
		got += string(data)
	}
	if got != strings.Repeat("line\n", 100) {
		t.Errorf("client got %d bytes", len(got))
	}
	if n := strings.Count(said.String(), "output is not logged"); n != 1 {
		t.Errorf("said %d times: %s", n, said.String())
	}
}

func TestLogIsTriedAgain(t *testing.T) {
	said := &saidLog{}
	o, out := newOutputs(t, Options{Logger: slog.New(slog.NewTextHandler(said, nil))}), fifos(t)
	dir := filepath.Join(filepath.Dir(out.Log), "later")
	out.Log = filepath.Join(dir, "log")
	open(t, o, out)
	w := writer(t, out.Pipes.Stdout)
	print(t, w, "lost\n")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log is there", func() bool {
		print(t, w, "kept\n")
		return strings.Contains(logged(t, out.Log, time.Time{})["stdout"], "kept\n")
	})
	if s := said.String(); strings.Count(s, "not logged") != 1 || strings.Count(s, "logged again") != 1 {
		t.Errorf("said %s", s)
	}
}

// TestJoinFindsEveryByteOnce: the log up to Joined and then the queue are the
// whole output, whenever a client comes.
func TestJoinFindsEveryByteOnce(t *testing.T) {
	o, out := newOutputs(t, Options{}), fifos(t)
	open(t, o, out)
	w := writer(t, out.Pipes.Stdout)
	o.Begun(id)
	var input strings.Builder
	for i := range 8000 {
		fmt.Fprintf(&input, "é%d", i)
		if i%7 == 0 {
			input.WriteByte('\n')
		}
	}
	text := input.String()
	wrote := make(chan error, 1)
	go func() {
		for at := 0; at < len(text); at += 37 { // through characters and lines
			if _, err := io.WriteString(w, text[at:min(at+37, len(text))]); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- w.Close()
	}()
	var clients []*Client
	for range 20 {
		clients = append(clients, o.Follow(id, true, true))
		time.Sleep(500 * time.Microsecond) // spreads them; nothing waits for it
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	writer(t, out.Pipes.Stderr).Close()
	drain(t, o)
	closeOutput(t, o)
	for i, c := range clients {
		got, err := everything(within(t), c)
		c.Close()
		before := logged(t, out.Log, c.Joined())["stdout"]
		if !errors.Is(err, io.EOF) || before+got["stdout"] != text {
			t.Errorf("client %d: %d bytes from the log and %d from the queue, want %d together: %v", i, len(before), len(got["stdout"]), len(text), err)
		}
	}
	if got := logged(t, out.Log, time.Time{})["stdout"]; got != text {
		t.Errorf("log has %d bytes, want %d", len(got), len(text))
	}
}

// TestIdleContainersAreCheap: memory and descriptors of containers that print
// nothing, and nothing left of those that are gone.
func TestIdleContainersAreCheap(t *testing.T) {
	const count = 100
	o := newOutputs(t, Options{})
	before, files := inUse(), descriptors(t)
	var all []model.Output
	for i := range count {
		out := fifos(t)
		out.Container = model.ContainerID(fmt.Sprintf("%016d", i))
		open(t, o, out)
		w := writer(t, out.Pipes.Stdout)
		o.Begun(out.Container)
		print(t, w, "hello\nand half a line")
		eventually(t, "it is logged", func() bool { return logged(t, out.Log, time.Time{})["stdout"] != "" })
		w.Close()
		all = append(all, out)
	}
	each := (inUse() - before) / count
	t.Logf("%d bytes for each container", each)
	if each > 48<<10 {
		t.Error("that is too much")
	}
	for _, out := range all {
		if err := o.Close(out.Container); err != nil {
			t.Error(err)
		}
	}
	if now := descriptors(t); now != files {
		t.Errorf("%d descriptors, %d before", now, files)
	}
}

// inUse returns how many bytes of heap and stacks are in use.
func inUse() int64 {
	runtime.GC()
	runtime.GC() // pools let go at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
