package containers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containers/exec"
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/localvolume"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
	"github.com/linkspan/linkspan/internal/volumes"
)

// fakeEngine runs ops on a model without a kernel.
type fakeEngine struct {
	mu    sync.Mutex
	now   *state.Snapshot
	fail  error // the next Do's answer
	down  error // every Do's answer
	asked int   // how often there was one
}

func newFakeEngine() *fakeEngine {
	tx := state.Begin(state.Empty(), facts.Set{})
	for name, driver := range map[string]string{"bridge": "bridge", "host": "host", "none": "null"} {
		tx.PutNetwork(testNetwork(name, driver, "172.17.0.0/16"))
	}
	tx.PutNetwork(testNetwork("web", "bridge", "172.18.0.0/16"))
	s, _ := tx.Commit()
	return &fakeEngine{now: s}
}

func testNetwork(name, driver, subnet string) model.Network {
	n := model.Network{ID: model.NetworkID(ids.New()), Name: name, Driver: driver, Scope: "local", IPv4: true}
	if driver == "bridge" {
		p := netip.MustParsePrefix(subnet)
		n.IPAM.Pools = []model.Pool{{Subnet: p, Gateway: p.Addr().Next()}}
	}
	return n
}

func (e *fakeEngine) Do(_ context.Context, op ops.Op) (*state.Snapshot, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	if err := e.fail; err != nil {
		e.fail = nil
		return nil, err
	}
	if e.down != nil {
		return nil, e.down
	}
	tx := ops.Begin(e.now, facts.Set{}, all.Drivers())
	if err := op(tx); err != nil {
		return nil, err
	}
	e.now, _ = tx.Commit()
	return e.now, nil
}

func (e *fakeEngine) Resync(context.Context) (desired.Report, error) { return desired.Report{}, nil }

func (e *fakeEngine) Facts() facts.Set { return facts.Set{} }

func (e *fakeEngine) Snapshot() *state.Snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

// set has every Do fail from now on, or with nil none.
func (e *fakeEngine) set(down error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = down
}

// turns returns how many ops f asks for.
func (e *fakeEngine) turns(f func()) int {
	e.mu.Lock()
	before := e.asked
	e.mu.Unlock()
	f()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked - before
}

// count returns how many containers there are in the model.
func (e *fakeEngine) count() int { return len(slices.Collect(e.Snapshot().Containers())) }

// unstartable is how the runtime refuses a program: a shell would have ended with code.
func unstartable(code int, text string) error {
	return &model.Error{Kind: model.Invalid, Err: &model.StartError{Code: code, Err: errors.New(text)}}
}

// bench is a manager on fakes.
type bench struct {
	sizes Sizes // of the next open
	*Manager
	*events.Bus
	*exec.Execs
	t       *testing.T
	engine  *fakeEngine
	runtime *fakeRuntime
	logs    *fakeLogs
	outputs *fakeOutputs
	volumes *volumes.Manager
	root    string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, engine: newFakeEngine(), runtime: newFakeRuntime(), logs: newFakeLogs(),
		root: t.TempDir()}
	b.outputs = newFakeOutputs(b.runtime, b.logs)
	b.write("resolv.conf", "nameserver 192.0.2.1\nsearch example.test\n")
	b.write("hosts", "127.0.0.1\tthehost\n")
	b.open()
	t.Cleanup(func() { b.shut() })
	return b
}

// open makes a manager of what a former one left.
func (b *bench) open() {
	b.t.Helper()
	b.Bus = &events.Bus{}
	disk, err := localvolume.Open(filepath.Join(b.root, "data"), filepath.Join(b.root, "run"), nil)
	must(b.t, err)
	b.volumes, err = volumes.New(volumes.Options{Store: disk, Mounter: disk, Events: b.Bus})
	must(b.t, err)
	m, err := New(Options{Engine: b.engine, Events: b.Bus, Containers: b.runtime, Tasks: b.runtime, Control: b.runtime, Execs: b.runtime,
		Images: fakeImages{}, Volumes: b.volumes, Logs: b.logs, Outputs: b.outputs, Drivers: all.Drivers(), Sizes: b.sizes, Root: filepath.Join(b.root, "data"),
		Host: HostFiles{ResolvConf: filepath.Join(b.root, "resolv.conf"), Hosts: filepath.Join(b.root, "hosts")}})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := m.Restore(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	b.Manager, b.Execs = m, m.Execs()
}

func (b *bench) shut() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.Manager.Close(ctx); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.root, name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// create makes a container of busybox; change may be nil.
func (b *bench) create(name string, change func(*CreateRequest)) string {
	b.t.Helper()
	id, _, err := b.Create(context.Background(), request(name, change))
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

func request(name string, change func(*CreateRequest)) CreateRequest {
	r := CreateRequest{Name: name, Config: &container.Config{Image: "busybox"}, Host: &container.HostConfig{}}
	if change != nil {
		change(&r)
	}
	return r
}

// run makes a container and starts it.
func (b *bench) run(name string, change func(*CreateRequest)) string {
	b.t.Helper()
	id := b.create(name, change)
	must(b.t, b.Start(context.Background(), id))
	return id
}

// end ends a container's process and waits until that is recorded.
func (b *bench) end(id string, code int) {
	b.t.Helper()
	done := b.waitFor(id, container.WaitConditionNextExit)
	b.runtime.finish(b.runtime.process(id), code)
	if got := receive(b.t, done).StatusCode; got != int64(code) {
		b.t.Fatalf("exit code %d, want %d", got, code)
	}
}

func (b *bench) waitFor(id string, c container.WaitCondition) <-chan container.WaitResponse {
	b.t.Helper()
	done, err := b.Wait(context.Background(), id, c)
	must(b.t, err)
	return done
}

func (b *bench) inspect(id string) container.InspectResponse {
	b.t.Helper()
	out, err := b.Inspect(context.Background(), id)
	must(b.t, err)
	return out
}

// endpoint returns the only endpoint of a container.
func (b *bench) endpoint(id string) model.Endpoint {
	b.t.Helper()
	view := b.engine.Snapshot()
	sb, _ := view.SandboxOf(model.ContainerID(id))
	all := view.EndpointsInOrder(sb.ID)
	if len(all) != 1 {
		b.t.Fatalf("%d endpoints", len(all))
	}
	return all[0]
}

// file returns the text of one of a container's files.
func (b *bench) file(id, name string) string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dirs.Of(model.ContainerID(id)), name))
	must(b.t, err)
	return string(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks an error's kind and a part of its text.
func refused(t *testing.T, err error, kind model.Kind, text string) {
	t.Helper()
	if err == nil || model.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Fatalf("got error %v (kind %d), want kind %d with %q", err, model.KindOf(err), kind, text)
	}
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came in time")
		panic("unreachable")
	}
}

// soon polls a condition until it holds.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) { // poll
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

func equal[T any](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b T) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

var errBroken = errors.New("broken")

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
