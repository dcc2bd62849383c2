package tasks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/moby/api/types/container"
	dockerevents "github.com/moby/moby/api/types/events"
	"github.com/moby/swarmkit/v2/agent/exec"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
)

// run returns who runs a task.
func run(t *testing.T, m *Manager, task *api.Task) exec.Controller {
	t.Helper()
	c, err := m.Controller(task)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func wants(t *testing.T, h *host, want string) {
	t.Helper()
	if got := h.noted(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestLifeOfATask: each step does its part, in this order, and what is made goes.
func TestLifeOfATask(t *testing.T) {
	m, h := newTasks()
	ctx := t.Context()
	m.Secrets().Add(api.Secret{ID: "sec", Spec: api.SecretSpec{Data: []byte("hush")}})
	m.Configs().Add(api.Config{ID: "con", Spec: api.ConfigSpec{Data: []byte("of {{.Task.Name}}"), Templating: &api.Driver{Name: "golang"}}})
	c := run(t, m, aTask(func(_ *api.Task, s *api.ContainerSpec) {
		s.Secrets = []*api.SecretReference{{SecretID: "sec", SecretName: "key", Target: &api.SecretReference_File{File: &api.FileTarget{Name: "../../etc/key", UID: "7", GID: "8", Mode: 0o400}}}}
		s.Configs = []*api.ConfigReference{{ConfigID: "con", ConfigName: "page", Target: &api.ConfigReference_File{File: &api.FileTarget{Name: "/srv/page", Mode: 0o444}}},
			{ConfigID: "con", Target: &api.ConfigReference_Runtime{Runtime: &api.RuntimeTarget{}}}}
	}))
	must(t, c.Prepare(ctx))
	wants(t, h, `ensure back for t1; pull busybox:latest as ""; create web.3.t1`)
	files := h.files["t1"]
	if len(files) != 2 || string(files[0].Data) != "hush" || files[0].UID != 7 || files[0].GID != 8 || files[0].Mode != 0o400 || string(files[1].Data) != "of web.3.t1" {
		t.Errorf("its files are %+v", files)
	}
	points := h.requests[name].Task.Files
	if points[0].Destination != "/run/secrets/etc/key" || points[0].Source != "/mem/t1/0" || points[0].RW || !points[0].Unlisted || points[1].Destination != "/srv/page" {
		t.Errorf("mounted at %+v", points)
	}
	if err := c.Prepare(ctx); !errors.Is(err, exec.ErrTaskPrepared) {
		t.Errorf("prepared again: %v", err)
	}
	must(t, c.Start(ctx))
	wants(t, h, "ensure back for t1; start; serving true")
	must(t, c.Shutdown(ctx))
	wants(t, h, "serving false; stop; drop net1")
	if err := c.Wait(ctx); err == nil || err.Error() != "task: non-zero exit (137)" {
		t.Errorf("ended: %v", err)
	}
	if err := c.Wait(canceled()); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits any more: %v", err)
	}
	h.noted()
	if err := c.Start(ctx); !errors.Is(err, exec.ErrTaskStarted) {
		t.Errorf("started again: %v", err)
	}
	h.noted()
	must(t, c.Remove(ctx))
	wants(t, h, "serving false; stop; drop net1; remove; drop net1")
	if len(h.files) != 0 || len(h.made) != 0 {
		t.Errorf("%v, %v stay", h.files, h.made)
	}
	must(t, c.Remove(ctx)) // twice is once
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestHealth: a task serves once it is well, and one that becomes ill is ended.
func TestHealth(t *testing.T) {
	checked := func(_ *api.Task, s *api.ContainerSpec) {
		s.Healthcheck = &api.HealthConfig{Test: []string{"CMD", "true"}}
	}
	health := func(h *host, to container.HealthStatus) {
		h.change(name, dockerevents.ActionHealthStatus+": "+dockerevents.Action(to), func(s *container.State) { s.Health = &container.Health{Status: to} })
	}
	begin := func(t *testing.T) (*host, exec.Controller, chan error) {
		m, h := newTasks()
		c := run(t, m, aTask(checked))
		must(t, c.Prepare(t.Context()))
		_, begun := h.Subscribe(t.Context(), time.Time{}, time.Time{}, func(e events.Message) bool { return e.Action == dockerevents.ActionStart })
		started := make(chan error, 1)
		go func() { started <- c.Start(t.Context()) }()
		select {
		case <-begun:
		case <-time.After(10 * time.Second):
			t.Fatal("it is not started")
		}
		return h, c, started
	}
	t.Run("well, then ill", func(t *testing.T) {
		h, c, started := begin(t)
		select {
		case err := <-started:
			t.Fatalf("it serves, and nobody knows whether it is well: %v", err)
		default:
		}
		health(h, container.Healthy)
		must(t, <-started)
		if !strings.HasSuffix(h.noted(), "serving true") {
			t.Error("it does not serve")
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait(t.Context()) }()
		for {
			health(h, container.Unhealthy)
			select {
			case err := <-ended:
				if err == nil || err.Error() != "task: non-zero exit (137): dockerexec: unhealthy container" {
					t.Errorf("%v", err)
				}
				return
			case <-time.After(5 * time.Millisecond): // it may not have listened yet
			}
		}
	})
	t.Run("ill before anybody listens", func(t *testing.T) {
		h, c, started := begin(t)
		health(h, container.Healthy)
		must(t, <-started)
		health(h, container.Unhealthy) // and never said again
		if err := c.Wait(t.Context()); err == nil || err.Error() != "task: non-zero exit (137): dockerexec: unhealthy container" {
			t.Errorf("%v", err)
		}
	})
	t.Run("never well", func(t *testing.T) {
		h, _, started := begin(t)
		health(h, container.Unhealthy)
		if err := <-started; err == nil || err.Error() != "task: non-zero exit (137): dockerexec: unhealthy container" {
			t.Errorf("%v", err)
		}
	})
	t.Run("ends before it is well", func(t *testing.T) {
		h, _, started := begin(t)
		h.exit(name, 0)
		must(t, <-started)
		if strings.Contains(h.noted(), "serving true") {
			t.Error("it serves")
		}
	})
	t.Run("the daemon ends while it is waited for", func(t *testing.T) {
		h, c, started := begin(t)
		go func() { started <- c.Start(t.Context()) }() // by the next daemon
		health(h, container.Healthy)
		must(t, <-started)
		must(t, <-started)
	})
}

// TestImages: an image that is here does for a registry that is away.
func TestImages(t *testing.T) {
	away := errors.New("registry is away")
	for what, c := range map[string]struct {
		image  string
		pulled error
		absent bool
		want   error
		noted  string
	}{
		"away, and here":     {"busybox:1", away, false, nil, `pull busybox:1 as ""; create web.3.t1`},
		"away, and not here": {"busybox:1", away, true, away, `pull busybox:1 as ""`},
		"pinned, and here":   {"busybox@sha256:" + strings.Repeat("a", 64), away, false, nil, "create web.3.t1"},
		"an ID":              {"sha256:" + strings.Repeat("a", 64), away, false, nil, "create web.3.t1"},
	} {
		m, h := newTasks()
		h.pulled, h.absent = c.pulled, c.absent
		one := run(t, m, aTask(func(task *api.Task, s *api.ContainerSpec) { s.Image, task.Networks = c.image, nil }))
		if err := one.Prepare(t.Context()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if got := h.noted(); got != c.noted {
			t.Errorf("%s: %s, want %s", what, got, c.noted)
		}
	}
}

// TestRequest: what a task says is asked of the host.
func TestRequest(t *testing.T) {
	m, h := newTasks()
	c := run(t, m, aTask(func(task *api.Task, s *api.ContainerSpec) {
		s.Command, s.Args = []string{"sh"}, []string{"-c", "true"}
		s.Hostname, s.Env = "{{.Service.Name}}-{{.Task.Slot}}", []string{"ON={{.Node.Hostname}}"}
		s.Labels = map[string]string{"own": "1", "com.docker.swarm.task.id": "forged"}
		s.Hosts = []string{"192.0.2.1 a b", "nonsense"}
		s.PidsLimit = 9
		s.Privileges = &api.Privileges{NoNewPrivileges: true, Seccomp: &api.Privileges_SeccompOpts{Mode: api.Privileges_SeccompOpts_CUSTOM, Profile: []byte("{}")}}
		s.StopGracePeriod = gogotypes.DurationProto(3 * time.Second)
		task.Spec.Resources = &api.ResourceRequirements{Limits: &api.Resources{MemoryBytes: 100, NanoCPUs: 5}, SwapBytes: &gogotypes.Int64Value{Value: 20}}
		task.ServiceAnnotations.Labels = map[string]string{model.LabelIngressPolicy: "local"}
		task.Endpoint.Ports = []*api.PortConfig{
			{PublishMode: api.PublishModeHost, TargetPort: 80, PublishedPort: 8080}, {PublishMode: api.PublishModeHost, TargetPort: 80}, {PublishMode: api.PublishModeHost, TargetPort: 70000},
			{PublishMode: api.PublishModeIngress, TargetPort: 90, PublishedPort: 9090, Protocol: api.ProtocolUDP},
		}
		task.Networks = append(task.Networks, &api.NetworkAttachment{Network: &api.Network{ID: "in", Spec: api.NetworkSpec{Ingress: true}}, Addresses: []string{"10.0.0.9/24"}})
	}))
	must(t, c.Prepare(t.Context()))
	r := h.requests[name]
	if r.Config.Hostname != "web-3" || r.Config.Env[0] != "ON=h1" || r.Config.Labels["own"] != "1" || r.Config.Labels["com.docker.swarm.task.id"] != "t1" ||
		r.Config.Labels["com.docker.swarm.service.name"] != "web" || !slices.Equal(r.Config.Entrypoint, []string{"sh"}) || !slices.Equal(r.Config.Cmd, []string{"-c", "true"}) {
		t.Errorf("%+v", r.Config)
	}
	if r.Host.Memory != 100 || r.Host.MemorySwap != 120 || r.Host.NanoCPUs != 5 || *r.Host.PidsLimit != 9 || !slices.Equal(r.Host.ExtraHosts, []string{"a:192.0.2.1"}) ||
		!slices.Equal(r.Host.SecurityOpt, []string{"seccomp={}", "no-new-privileges=true"}) {
		t.Errorf("%+v", r.Host)
	}
	if b := r.Host.PortBindings; len(b) != 1 || len(b[port("80/tcp")]) != 2 || b[port("80/tcp")][0].HostPort != "8080" || b[port("80/tcp")][1].HostPort != "" {
		t.Errorf("ports %+v", b)
	}
	back, in := r.Task.Services["net1"], r.Task.Services["in"]
	if back.Name != "web" || back.Task != "t1" || len(back.VIPs) != 1 || back.VIPs[0].String() != "10.0.1.2" || !slices.Equal(back.Aliases, []string{"shop"}) || len(back.Ingress) != 0 {
		t.Errorf("on back it stands for %+v", back)
	}
	if len(in.Ingress) != 1 || in.Ingress[0] != (model.IngressPort{Protocol: model.UDP, Target: 90, Published: 9090, Local: true}) || len(in.VIPs) != 0 {
		t.Errorf("on ingress it stands for %+v", in)
	}
	if g := r.Task.Given; g["net1"][0].String() != "10.0.1.5" || g["in"][0].String() != "10.0.0.9" {
		t.Errorf("it is given %v", g)
	}
}

// TestRefusals: what no host can do is said before anything is made.
func TestRefusals(t *testing.T) {
	m, _ := newTasks()
	for want, change := range map[string]func(*api.Task, *api.ContainerSpec){
		"dockerexec: image required":                                        func(_ *api.Task, s *api.ContainerSpec) { s.Image = "" },
		"invalid mount target, must be an absolute path: x":                 mounted(api.Mount{Target: "x"}),
		"invalid bind mount source, must be an absolute path: y":            mounted(api.Mount{Target: "/x", Source: "y"}),
		"invalid volume mount source, must not be an absolute path: /y":     mounted(api.Mount{Target: "/x", Source: "/y", Type: api.MountTypeVolume}),
		"invalid tmpfs source, source must be empty":                        mounted(api.Mount{Target: "/x", Source: "y", Type: api.MountTypeTmpfs}),
		"invalid npipe source, source must not be empty":                    mounted(api.Mount{Type: api.MountTypeNamedPipe}),
		"invalid mount type: CLUSTER":                                       mounted(api.Mount{Target: "/x", Type: api.MountTypeCluster}),
		"unsupported runtime: *api.TaskSpec_Attachment":                     func(t *api.Task, _ *api.ContainerSpec) { t.Spec.Runtime = &api.TaskSpec_Attachment{} },
		"expanding hostname failed: template: expansion:1: unclosed action": func(_ *api.Task, s *api.ContainerSpec) { s.Hostname = "{{" },
		"address of a task: netip.ParsePrefix(\"x\"): no '/'":               func(t *api.Task, _ *api.ContainerSpec) { t.Networks[0].Addresses = []string{"x"} },
		"a task is attached to no network":                                  func(t *api.Task, _ *api.ContainerSpec) { t.Networks[0].Network = nil },
	} {
		if _, err := m.Controller(aTask(change)); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func mounted(m api.Mount) func(*api.Task, *api.ContainerSpec) {
	return func(_ *api.Task, s *api.ContainerSpec) { s.Mounts = []api.Mount{m} }
}

// TestRemoveAll: a node that leaves takes the containers of its tasks along, and no others.
func TestRemoveAll(t *testing.T) {
	m, h := newTasks()
	must(t, run(t, m, aTask(nil)).Prepare(t.Context()))
	must(t, run(t, m, aTask(func(task *api.Task, _ *api.ContainerSpec) { task.ID, task.NodeID = "t2", "other" })).Prepare(t.Context()))
	must(t, m.RemoveAll(t.Context(), "n1"))
	if len(h.made) != 1 || h.made["web.3.t2"] == nil {
		t.Errorf("%v", h.made)
	}
}

// TestLogs: lines carry whose they are; only the streams that were asked for.
func TestLogs(t *testing.T) {
	m, _ := newTasks()
	c := run(t, m, aTask(nil))
	must(t, c.Prepare(t.Context()))
	var got []api.LogMessage
	publish := exec.LogPublisherFunc(func(_ context.Context, m api.LogMessage) error { got = append(got, m); return nil })
	must(t, c.(exec.ControllerLogs).Logs(t.Context(), publish, api.LogSubscriptionOptions{Streams: []api.LogStream{api.LogStreamStderr}}))
	if len(got) != 1 || string(got[0].Data) != "err\n" || got[0].Context != (api.LogContext{ServiceID: "s1", NodeID: "n1", TaskID: "t1"}) {
		t.Errorf("%+v", got)
	}
	must(t, c.(exec.ControllerLogs).Logs(t.Context(), publish, api.LogSubscriptionOptions{}))
	if len(got) != 3 {
		t.Errorf("%+v", got)
	}
	for tail, want := range map[int64]int{0: -1, -1: 0, -11: 10} {
		if o, err := logOptions(api.LogSubscriptionOptions{Tail: tail}); err != nil || o.Tail != want {
			t.Errorf("%d: %d, %v", tail, o.Tail, err)
		}
	}
	if _, err := logOptions(api.LogSubscriptionOptions{Tail: 5}); err == nil {
		t.Error("a tail from the beginning is taken")
	}
}
