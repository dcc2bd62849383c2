package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/container"
	dockerevents "github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/swarmkit/v2/api"

	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/images"
	"github.com/linkspan/linkspan/internal/model"
)

// host is everything that tasks need of a host, in memory. All calls are noted.
type host struct {
	events.Bus
	mu       sync.Mutex
	calls    []string
	made     map[string]*container.InspectResponse // by name
	requests map[string]containers.CreateRequest
	exits    map[string]chan container.WaitResponse
	files    map[string][]model.TaskFile
	pulled   error // what pulling answers
	absent   bool  // the image is not here
	refused  error // what starting answers
}

func newHost() *host {
	return &host{made: map[string]*container.InspectResponse{}, requests: map[string]containers.CreateRequest{}, exits: map[string]chan container.WaitResponse{}, files: map[string][]model.TaskFile{}}
}

func (h *host) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, fmt.Sprintf(format, args...))
}

func (h *host) noted() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := strings.Join(h.calls, "; ")
	h.calls = nil
	return out
}

// await waits for these calls. It is for a bubble of synctest.
func (h *host) await(t *testing.T, want string) {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		synctest.Wait()
		h.mu.Lock()
		got := strings.Join(h.calls, "; ")
		h.mu.Unlock()
		if got == want {
			h.noted()
			return
		}
		select {
		case <-time.After(time.Second / 10):
		case <-deadline:
			t.Fatalf("%s\nwant %s", got, want)
		}
	}
}

// change changes a container, and says so.
func (h *host) change(name string, action dockerevents.Action, f func(*container.State)) {
	h.mu.Lock()
	c := h.made[name]
	state := *c.State
	f(&state)
	copied := *c
	copied.State = &state
	h.made[name] = &copied
	labels := c.Config.Labels
	h.mu.Unlock()
	h.Publish(events.Container(action, model.ContainerID(c.ID), labels, "name", name))
}

func (h *host) exit(name string, code int) {
	h.change(name, dockerevents.ActionDie, func(s *container.State) { s.Running, s.Status, s.ExitCode = false, container.StateExited, code })
	h.mu.Lock()
	h.exits[name] <- container.WaitResponse{StatusCode: int64(code)}
	h.mu.Unlock()
}

var errNone = model.Errorf(model.NotFound, "No such container")

func (h *host) Create(_ context.Context, r containers.CreateRequest) (string, []string, error) {
	h.note("create %s", r.Name)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.made[r.Name] != nil {
		return "", nil, model.Errorf(model.Conflict, "Conflict")
	}
	h.requests[r.Name], h.exits[r.Name] = r, make(chan container.WaitResponse, 1)
	h.made[r.Name] = &container.InspectResponse{ID: "id-" + r.Name, Config: r.Config, State: &container.State{Status: container.StateCreated}}
	return "id-" + r.Name, nil, nil
}

func (h *host) Start(_ context.Context, name string) error {
	h.note("start")
	if h.refused != nil {
		return h.refused
	}
	h.change(name, dockerevents.ActionStart, func(s *container.State) {
		s.Running, s.Status = true, container.StateRunning
		s.Health = &container.Health{Status: container.Starting}
	})
	return nil
}

func (h *host) Stop(_ context.Context, name string, o containers.StopOptions) error {
	h.note("stop")
	if found, err := h.Inspect(context.Background(), name); err != nil || !found.State.Running {
		return model.Errorf(model.NotModified, "already stopped")
	}
	h.exit(name, 137)
	return nil
}

func (h *host) Kill(_ context.Context, _, signal string) error {
	h.note("kill %s", signal)
	return nil
}

func (h *host) Remove(_ context.Context, name string, _ containers.RemoveOptions) error {
	h.note("remove")
	h.mu.Lock()
	defer h.mu.Unlock()
	for known, c := range h.made {
		if known == name || c.ID == name {
			delete(h.made, known)
			return nil
		}
	}
	return errNone
}

func (h *host) Inspect(_ context.Context, name string) (container.InspectResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.made[name]; c != nil {
		return *c, nil
	}
	return container.InspectResponse{}, errNone
}

func (h *host) List(_ context.Context, o containers.ListOptions) (out []container.Summary, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.made {
		if o.Filters.MatchLabels("label", c.Config.Labels) {
			out = append(out, container.Summary{ID: c.ID, Labels: c.Config.Labels})
		}
	}
	return out, nil
}

func (h *host) Wait(_ context.Context, name string, _ container.WaitCondition) (<-chan container.WaitResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.exits[name], nil
}

func (h *host) LogEntries(_ context.Context, _ string, o containers.LogOptions, each func(containers.LogEntry) error) error {
	return errors.Join(
		each(containers.LogEntry{Stream: "stdout", Time: time.Unix(1, 0), Text: []byte("out\n"), Attributes: map[string]string{"a": "b"}}),
		each(containers.LogEntry{Stream: "stderr", Time: time.Unix(2, 0), Text: []byte("err\n")}))
}

func (h *host) SetServing(_ context.Context, name string, yes bool) error {
	h.note("serving %t", yes)
	if _, err := h.Inspect(context.Background(), name); err != nil {
		return err
	}
	return nil
}

func (h *host) Find(context.Context, string) (model.Image, error) {
	if h.absent {
		return model.Image{}, model.Errorf(model.NotFound, "No such image")
	}
	return model.Image{}, nil
}

func (h *host) Pull(_ context.Context, t images.Transfer) error {
	h.note("pull %s as %q", t.Ref, t.Auth.Username)
	return h.pulled
}

func (h *host) EnsureFor(_ context.Context, task string, n model.Network) error {
	h.note("ensure %s for %s", n.Name, task)
	return nil
}

func (h *host) DropFor(_ context.Context, task string, id model.NetworkID) {
	h.note("drop %s", id)
}

func (h *host) Path(task string, n int) string { return fmt.Sprintf("/mem/%s/%d", task, n) }

func (h *host) Put(task string, files []model.TaskFile) error {
	h.files[task] = files
	return nil
}

func (h *host) Drop(task string) error {
	delete(h.files, task)
	return nil
}

// newTasks returns a manager of tasks on a host in memory.
func newTasks() (*Manager, *host) {
	h := newHost()
	return New(h.options()), h
}

// options are those of who runs tasks on it.
func (h *host) options() Options {
	return Options{Lives: h, Looks: h, Events: h, Images: h, Networks: h, Files: h, Logger: slog.New(slog.DiscardHandler),
		Describe: func(context.Context) (cluster.Description, error) {
			return cluster.Description{Hostname: "h1", Architecture: "x86_64"}, nil
		}}
}

// aTask returns a task of a service on one network; change may be nil.
func aTask(change func(*api.Task, *api.ContainerSpec)) *api.Task {
	spec := &api.ContainerSpec{Image: "busybox"}
	t := &api.Task{
		ID: "t1", ServiceID: "s1", NodeID: "n1", Slot: 3, ServiceAnnotations: api.Annotations{Name: "web"}, Spec: api.TaskSpec{Runtime: &api.TaskSpec_Container{Container: spec}},
		Networks: []*api.NetworkAttachment{{
			Network:   &api.Network{ID: "net1", Spec: api.NetworkSpec{Annotations: api.Annotations{Name: "back"}}},
			Addresses: []string{"10.0.1.5/24"}, Aliases: []string{"shop"},
		}},
		Endpoint: &api.Endpoint{VirtualIPs: []*api.Endpoint_VirtualIP{{NetworkID: "net1", Addr: "10.0.1.2/24"}, {NetworkID: "other", Addr: "10.0.2.2/24"}}},
	}
	if change != nil {
		change(t, spec)
	}
	return t
}

const name = "web.3.t1"

func port(text string) network.Port { return network.MustParsePort(text) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
