package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	servicehub "github.com/linkspan/linkspan/internal/cluster/services"
	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/containers/commit"
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/dockerapi/system"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/images"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/kernel/machine"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/networks"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
	"github.com/linkspan/linkspan/internal/swarm"
)

// fakeManager stands for the hub of containers. Every call is noted; err, if set, is the
// answer to all of them.
type fakeManager struct {
	mu        sync.Mutex
	calls     []string
	err       error
	create    containerhub.CreateRequest
	list      containerhub.ListOptions
	logs      containerhub.LogOptions
	update    container.UpdateConfig
	committed commit.Request
	connect   *network.EndpointSettings
	exec      container.ExecCreateRequest

	inspect     container.InspectResponse
	execAbout   container.ExecInspectResponse
	execUnready error
	containers  []container.Summary
	waiting     chan container.WaitResponse
	tty         bool
	output      func(ctx context.Context, s containerhub.Streams) error // of logs, attach and exec
	attachFirst error                                                   // before anybody is attached
	users       map[model.ContainerID]bool
	published   []events.Message
	subscribers []subscription
	subscribed  chan struct{} // one for each subscription
}

type subscription struct {
	ctx   context.Context
	match func(events.Message) bool
	live  chan events.Message
}

func (m *fakeManager) note(format string, args ...any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, fmt.Sprintf(format, args...))
	return m.err
}

// speaker returns what stands for a process's output.
func (m *fakeManager) speaker() func(context.Context, containerhub.Streams) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.output
}

// set changes the fake while requests may be under way.
func (m *fakeManager) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *fakeManager) noted() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.calls, "; ")
}

func (m *fakeManager) Create(_ context.Context, r containerhub.CreateRequest) (string, []string, error) {
	m.create = r
	return "c0ffee", []string{"beware"}, m.note("create %s", r.Name)
}
func (m *fakeManager) List(_ context.Context, o containerhub.ListOptions) ([]container.Summary, error) {
	m.list = o
	return m.containers, m.note("list")
}
func (m *fakeManager) Inspect(_ context.Context, ref string) (container.InspectResponse, error) {
	return m.inspect, m.note("inspect %s", ref)
}
func (m *fakeManager) Remove(_ context.Context, ref string, o containerhub.RemoveOptions) error {
	return m.note("remove %s %+v", ref, o)
}
func (m *fakeManager) Prune(_ context.Context, f containerhub.Filters) (container.PruneReport, error) {
	return container.PruneReport{ContainersDeleted: []string{"a"}}, m.note("prune %v", f)
}
func (m *fakeManager) Start(_ context.Context, ref string) error { return m.note("start %s", ref) }
func (m *fakeManager) Stop(_ context.Context, ref string, o containerhub.StopOptions) error {
	return m.note("stop %s %s %s", ref, o.Signal, seconds(o.Timeout))
}
func (m *fakeManager) Restart(_ context.Context, ref string, o containerhub.StopOptions) error {
	return m.note("restart %s %s %s", ref, o.Signal, seconds(o.Timeout))
}
func (m *fakeManager) Kill(_ context.Context, ref, signal string) error {
	return m.note("kill %s %s", ref, signal)
}
func (m *fakeManager) Wait(_ context.Context, ref string, c container.WaitCondition) (<-chan container.WaitResponse, error) {
	return m.waiting, m.note("wait %s %s", ref, c)
}
func (m *fakeManager) Pause(_ context.Context, ref string) error   { return m.note("pause %s", ref) }
func (m *fakeManager) Unpause(_ context.Context, ref string) error { return m.note("unpause %s", ref) }
func (m *fakeManager) Rename(_ context.Context, ref, name string) error {
	return m.note("rename %s %s", ref, name)
}
func (m *fakeManager) Update(_ context.Context, ref string, c container.UpdateConfig) (container.UpdateResponse, error) {
	m.update = c
	return container.UpdateResponse{}, m.note("update %s", ref)
}
func (m *fakeManager) Commit(_ context.Context, r commit.Request) (model.ImageID, error) {
	m.committed = r
	return "sha256:5", m.note("commit %s", r.Ref)
}
func (m *fakeManager) Top(_ context.Context, ref string, args []string) (container.TopResponse, error) {
	return container.TopResponse{Titles: []string{"PID"}}, m.note("top %s %q", ref, args)
}
func (m *fakeManager) IsTTY(ref string) (bool, error) { return m.tty, m.note("tty %s", ref) }
func (m *fakeManager) Attach(ctx context.Context, ref string, o containerhub.AttachOptions, s containerhub.Streams) error {
	if m.attachFirst != nil {
		return m.attachFirst
	}
	ready := o.Ready
	o.Ready = nil
	err := m.note("attach %s %+v", ref, o)
	speak := m.speaker()
	if err != nil || speak == nil {
		return err
	}
	if o.Stream {
		ready()
	}
	return speak(ctx, s)
}
func (m *fakeManager) Logs(ctx context.Context, ref string, o containerhub.LogOptions, s containerhub.Streams) error {
	m.logs = o
	if speak := m.speaker(); speak != nil {
		return speak(ctx, s)
	}
	return m.note("logs")
}
func (m *fakeManager) Resize(_ context.Context, ref string, width, height uint) error {
	return m.note("resize %s %dx%d", ref, width, height)
}
func (m *fakeManager) CreateExec(_ context.Context, ref string, r container.ExecCreateRequest) (string, error) {
	m.exec = r
	return "e1", m.note("exec %s", ref)
}
func (m *fakeManager) StartExec(ctx context.Context, id string, o containerhub.ExecStart, s containerhub.Streams) error {
	err := m.note("start exec %s %+v", id, o)
	speak := m.speaker()
	if err != nil || speak == nil {
		return err
	}
	return speak(ctx, s)
}
func (m *fakeManager) InspectExec(context.Context, string) (container.ExecInspectResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.execAbout, m.err
}
func (m *fakeManager) ExecReady(string) error { return m.execUnready }
func (m *fakeManager) ResizeExec(_ context.Context, id string, width, height uint) error {
	return m.note("resize exec %s %dx%d", id, width, height)
}
func (m *fakeManager) Connect(_ context.Context, ref, n string, e *network.EndpointSettings) error {
	m.connect = e
	return m.note("connect %s to %s", ref, n)
}
func (m *fakeManager) Disconnect(_ context.Context, ref, n string, force bool) error {
	return m.note("disconnect %s from %s %t", ref, n, force)
}
func (m *fakeManager) RemoveLink(_ context.Context, name string) error {
	return m.note("unlink %s", name)
}
func (m *fakeManager) Publish(e events.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.published = append(m.published, e)
	for _, s := range m.subscribers {
		if s.match(e) && s.ctx.Err() == nil {
			s.live <- e
		}
	}
}
func (m *fakeManager) Subscribe(ctx context.Context, since, _ time.Time, match func(events.Message) bool) (past []events.Message, live <-chan events.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := subscription{ctx, match, make(chan events.Message, 16)}
	m.subscribers = append(m.subscribers, s)
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		close(s.live)
	})
	if !since.IsZero() {
		for _, e := range m.published {
			if match(e) {
				past = append(past, e)
			}
		}
	}
	if m.subscribed != nil {
		m.subscribed <- struct{}{}
	}
	return past, s.live
}
func (m *fakeManager) Counts() (running, paused, stopped int) { return 3, 2, 1 }
func (m *fakeManager) ImageUsers(model.ImageID) map[model.ContainerID]bool {
	return m.users
}

func (m *fakeManager) Size(context.Context, string) (written, all int64, err error) {
	return 5, 12, nil
}

func seconds(n *int) string {
	if n == nil {
		return "default"
	}
	return fmt.Sprint(*n)
}

// fakeImages is a store of images.
type fakeImages struct {
	images []model.Image
	err    error
	loaded string
	tag    string
	change []string
}

func (i *fakeImages) List(context.Context) ([]model.Image, error) { return i.images, i.err }
func (i *fakeImages) Find(_ context.Context, ref string) (model.Image, error) {
	for _, one := range i.images {
		for _, tag := range append([]string{string(one.ID)}, one.Tags...) {
			if tag == ref || tag == ref+":latest" {
				return one, i.err
			}
		}
	}
	return model.Image{}, model.Errorf(model.NotFound, "No such image: %s", ref)
}
func (i *fakeImages) Tag(_ context.Context, source, tag string) error {
	i.tag = source + " as " + tag
	return i.err
}
func (i *fakeImages) Remove(_ context.Context, ref string, _ bool) (untagged, deleted []string, err error) {
	return []string{ref}, []string{"sha256:1"}, i.err
}
func (i *fakeImages) Load(_ context.Context, archive io.Reader) ([]model.Image, error) {
	raw, err := io.ReadAll(archive)
	i.loaded = string(raw)
	if err == nil {
		err = i.err
	}
	return i.images, err
}
func (i *fakeImages) Import(_ context.Context, rootfs io.Reader, tag string, changes []string) (model.Image, error) {
	raw, err := io.ReadAll(rootfs)
	i.loaded, i.tag, i.change = string(raw), tag, changes
	return model.Image{ID: "sha256:9"}, err
}
func (i *fakeImages) Save(_ context.Context, refs, _ []string, archive io.Writer) error {
	if i.err != nil {
		return i.err
	}
	_, err := io.WriteString(archive, "tar of "+strings.Join(refs, " "))
	return err
}

// fakeEngine runs ops as the engine does, without a kernel.
type fakeEngine struct {
	mu     sync.Mutex
	now    *state.Snapshot
	facts  facts.Set
	report desired.Report
	hold   chan struct{} // if set, Do waits for it
	held   chan struct{}
}

func (e *fakeEngine) Do(_ context.Context, op ops.Op) (*state.Snapshot, error) {
	if e.hold != nil {
		e.held <- struct{}{}
		<-e.hold
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	tx := ops.Begin(e.now, e.facts, all.Drivers())
	if err := op(tx); err != nil {
		return nil, err
	}
	e.now, _ = tx.Commit()
	return e.now, nil
}
func (e *fakeEngine) Snapshot() *state.Snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}
func (e *fakeEngine) Facts() facts.Set { return e.facts }

func (e *fakeEngine) Observe(context.Context) error { return nil }

func (e *fakeEngine) Plan() desired.State { return desired.State{} }
func (e *fakeEngine) Check(context.Context) (desired.Report, error) {
	return e.report, nil
}
func (e *fakeEngine) Resync(context.Context) (desired.Report, error) {
	return e.report, nil
}

var maker = ops.NetworkMaker{Drivers: all.Drivers(), Bases: ipam.DefaultBases()}

// bench is a door with everything behind it faked.
type bench struct {
	*fakeManager
	images *fakeImages
	builds fakeBuilder
	engine *fakeEngine
	http.Handler
	options Options
}

// with makes the door again, of other options.
func (b *bench) with(change func(o *Options)) {
	change(&b.options)
	b.Handler = New(b.options)
}

// id returns an ID of 64 digits that begins with a digit.
func id(digit string) string { return strings.Repeat(digit, 64) }

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{
		fakeManager: &fakeManager{},
		images: &fakeImages{images: []model.Image{{
			ID: "sha256:1", Tags: []string{"busybox:latest"}, Size: 7, OS: "linux", Architecture: "amd64",
		}}},
		engine: &fakeEngine{now: state.Empty()},
	}
	born := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b.do(t, maker.Predefine(
		model.Network{ID: model.NetworkID(id("b")), Name: "bridge", Driver: "bridge", Scope: "local", IPv4: true, Created: born},
		model.Network{ID: model.NetworkID(id("a")), Name: "host", Driver: "host", Scope: "local", Created: born},
		model.Network{ID: model.NetworkID(id("c")), Name: "none", Driver: "null", Scope: "local", Created: born}))
	stored := images.New(images.Options{Store: b.images, Variants: variants{b.images}, Mover: fakeMover{}, Registries: fakeRegistries{}, Containers: b.fakeManager, Events: b.fakeManager})
	listed := networks.New(networks.Options{Engine: b.engine, Events: b.fakeManager, Maker: maker})
	kept := newVolumes(t, b.fakeManager)
	alone := swarm.New(swarm.Options{Engine: b.engine})
	b.options = Options{
		Backends: Backends{
			Containers: b.fakeManager, Lifecycle: b.fakeManager, Control: b.fakeManager, Commits: b.fakeManager, Endpoints: listed, Execs: b.fakeManager,
			Images: stored, Transfer: stored, Mover: stored, Registries: fakeRegistries{}, Networks: listed, Memberships: b.fakeManager,
			Volumes: kept, VolumeUsage: kept, Usage: b.fakeManager, Events: b.fakeManager, Drivers: listed.Drivers,
			Swarm: alone, Membership: alone, Services: ServicesOf(servicehub.Options{Manage: alone.Node().Manage}), Builder: &b.builds, Publisher: b.fakeManager,
		},
		Info:     system.Info{Version: "0.1.0", FirewallBackend: "nftables"},
		Settings: func() system.Settings { return system.Settings{LiveRestore: true} },
		Machine:  func() facts.Machine { return machine.Read(os.DirFS("/")) },
	}
	b.Handler = New(b.options)
	return b
}

func (b *bench) do(t *testing.T, op ops.Op) {
	t.Helper()
	if _, err := b.engine.Do(t.Context(), op); err != nil {
		t.Fatal(err)
	}
}

// run starts a container called name on a network.
func (b *bench) run(t *testing.T, digit, name, network string) {
	t.Helper()
	sandbox := model.SandboxID(id(digit))
	b.do(t, ops.All(
		ops.CreateSandbox(model.Sandbox{ID: sandbox, Container: model.ContainerID(id(digit)), Name: name, Mode: model.SandboxOwn},
			[]ops.EndpointSpec{{ID: model.EndpointID(id(digit)), Network: network}}),
		ops.StartSandbox(sandbox)))
}

// ask sends a request, with a JSON body unless body is empty.
func (b *bench) ask(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// want fails the test unless a request is answered so; message is part of the
// body.
func (b *bench) want(t *testing.T, status int, message, method, path string, body ...string) {
	t.Helper()
	w := b.ask(method, path, strings.Join(body, ""))
	if w.Code != status || !strings.Contains(w.Body.String(), message) {
		t.Errorf("%s %.100s: %d %.300s, want %d %s", method, path, w.Code, w.Body, status, message)
	}
}

func noSuchImage() error {
	return &model.Error{Kind: model.NotFound, Err: errors.New("No such image: gone:latest")}
}
