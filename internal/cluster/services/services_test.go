package services

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	wire "github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/manager/controlapi"
	"github.com/moby/swarmkit/v2/manager/state/store"
	"github.com/moby/swarmkit/v2/manager/state/testutils"
	"github.com/moby/swarmkit/v2/manager/watchapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/model"
)

// manager is swarmkit's own server of requests, on a store in memory.
type manager struct {
	swarm.Manager
	store *store.MemoryStore
	o     Options
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{store: store.NewMemoryStore(&testutils.MockProposer{})}
	t.Cleanup(func() { m.store.Close() })
	server := grpc.NewServer()
	api.RegisterControlServer(server, controlapi.NewServer(m.store, nil, nil, nil, nil))
	w := watchapi.NewServer(m.store)
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	api.RegisterWatchServer(server, w)
	pipe := bufconn.Listen(1 << 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(pipe)
	}()
	conn, err := grpc.NewClient("passthrough:manager", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
		<-done
	})
	m.Manager = swarm.ManagerBehind("n1", conn)
	m.o = Options{
		Manage: func(ctx context.Context, ask func(context.Context, swarm.Manager) error) error {
			return swarm.Ask(ctx, m.Manager, ask)
		},
		LocalNetwork: func(ref string) (model.Network, bool) {
			switch ref {
			case "web":
				return model.Network{ID: "w1", Name: "web", Driver: "bridge"}, true
			case "b1", "bridge":
				return model.Network{ID: "b1", Name: "bridge", Driver: "bridge"}, true
			}
			return model.Network{}, false
		},
		DrawName: func() string { return "drawn" },
	}
	return m
}

// put stores an object as an allocator or orchestrator would.
func (m *manager) put(t *testing.T, put func(tx store.Tx) error) {
	t.Helper()
	if err := m.store.Update(put); err != nil {
		t.Fatal(err)
	}
}

func spec(name string) wire.ServiceSpec {
	return wire.ServiceSpec{Annotations: wire.Annotations{Name: name}, TaskTemplate: wire.TaskSpec{ContainerSpec: &wire.ContainerSpec{Image: "busybox"}}}
}

// refused checks a refusal's text and kind.
func refused(t *testing.T, err error, kind model.Kind, text string) {
	t.Helper()
	if err == nil || err.Error() != text || model.KindOf(err) != kind {
		t.Errorf("%v (%v), want %s (%v)", err, model.KindOf(err), text, kind)
	}
}

func TestServices(t *testing.T) {
	m, ctx := newManager(t), t.Context()
	s := New(m.o)
	id, err := s.CreateService(ctx, spec("web"), "secret-way-in")
	if err != nil || len(id) != 25 {
		t.Fatal(id, err)
	}
	drawn, err := s.CreateService(ctx, spec(""), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{id, "web", id[:24]} {
		if got, err := s.Service(ctx, ref, false); err != nil || got.ID != id || got.Spec.Name != "web" {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
	}
	plain, _ := s.Service(ctx, "web", false)
	full, err := s.Service(ctx, "web", true)
	if err != nil || plain.Spec.UpdateConfig != nil || full.Spec.UpdateConfig == nil || full.Spec.UpdateConfig.Monitor != 5*time.Second {
		t.Errorf("defaults: %+v and %+v, %v", plain.Spec.UpdateConfig, full.Spec.UpdateConfig, err)
	}
	for name, c := range map[string]struct {
		f    ServiceFilter
		want []string
	}{
		"all":      {ServiceFilter{}, []string{drawn, id}},
		"name":     {ServiceFilter{Names: []string{"we"}}, []string{id}},
		"mode":     {ServiceFilter{Modes: []string{"global"}}, nil},
		"modes":    {ServiceFilter{Modes: []string{"global", "replicated"}}, []string{drawn, id}},
		"id":       {ServiceFilter{IDs: []string{drawn}}, []string{drawn}},
		"no label": {ServiceFilter{Labels: map[string]string{"a": ""}}, nil},
	} {
		c.f.Status = true
		list, err := s.Services(ctx, c.f)
		var got []string
		for _, one := range list {
			got = append(got, one.ID)
			if one.ServiceStatus == nil || one.ServiceStatus.DesiredTasks != 1 {
				t.Errorf("%s: the status is %+v", name, one.ServiceStatus)
			}
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if err != nil || !slices.Equal(got, c.want) || list == nil {
			t.Errorf("%s: %v, %v, want %v", name, got, err, c.want)
		}
	}

	// a way into the registry stays through an update that says nothing of it, and a rollback
	version := plain.Version.Index
	next := spec("web")
	next.TaskTemplate.ContainerSpec.Image = "busybox:2"
	if err := s.UpdateService(ctx, "web", ServiceUpdate{Version: version, Spec: next}); err != nil {
		t.Fatal(err)
	}
	refused(t, s.UpdateService(ctx, "web", ServiceUpdate{Version: version, Spec: next}), model.Unfit, "rpc error: code = Unknown desc = update out of sequence")
	now, err := m.GetService(ctx, &api.GetServiceRequest{ServiceID: id})
	if err != nil || now.Service.Spec.Task.GetContainer().PullOptions.RegistryAuth != "secret-way-in" {
		t.Errorf("the way into the registry is %v, %v", now.Service.Spec.Task.GetContainer().PullOptions, err)
	}
	if err := s.UpdateService(ctx, "web", ServiceUpdate{Version: now.Service.Meta.Version.Index, Spec: next, Rollback: "previous"}); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Service(ctx, "web", false); got.Spec.TaskTemplate.ContainerSpec.Image != "busybox" {
		t.Errorf("rolled back, the image is %s", got.Spec.TaskTemplate.ContainerSpec.Image)
	}
	if err := s.RemoveService(ctx, "drawn"); err != nil {
		t.Error(err)
	}
}

func TestServiceRefusals(t *testing.T) {
	m, ctx := newManager(t), t.Context()
	s := New(m.o)
	if _, err := s.CreateService(ctx, spec("web"), ""); err != nil {
		t.Fatal(err)
	}
	create := func(change func(*wire.ServiceSpec)) error {
		one := spec("other")
		change(&one)
		_, err := s.CreateService(ctx, one, "")
		return err
	}
	on := func(network string) func(*wire.ServiceSpec) {
		return func(s *wire.ServiceSpec) { s.TaskTemplate.Networks = []wire.NetworkAttachmentConfig{{Target: network}} }
	}
	refused(t, create(func(s *wire.ServiceSpec) { s.Name = "web" }), model.Conflict,
		"rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists")
	refused(t, create(func(s *wire.ServiceSpec) { s.Name = "a_b." }), model.Invalid, "rpc error: code = InvalidArgument desc = name must be valid as a DNS name component")
	refused(t, create(func(s *wire.ServiceSpec) { s.TaskTemplate.Runtime = "wasm" }), model.Invalid, "unsupported runtime")
	refused(t, create(func(s *wire.ServiceSpec) { s.TaskTemplate.Runtime = "plugin" }), model.Unfit, `runtime type "plugin" only supported in experimental`)
	refused(t, create(on("absent")), model.Unfit, "network absent not found")
	refused(t, create(on("web")), model.Forbidden,
		"The network web cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver.")
	refused(t, create(on("b1")), model.NotFound, "could not find the corresponding predefined swarm network: network bridge not found")
	_, err := s.Service(ctx, "absent", true)
	refused(t, err, model.NotFound, "service absent not found")
	refused(t, s.RemoveService(ctx, "absent"), model.NotFound, "service absent not found")
	refused(t, s.UpdateService(ctx, "absent", ServiceUpdate{Spec: spec("absent")}), model.NotFound, "service absent not found")
	now, _ := s.Service(ctx, "web", false)
	refused(t, s.UpdateService(ctx, "web", ServiceUpdate{Version: now.Version.Index, Spec: spec("web"), AuthFrom: "previous-spec"}), model.Unfit, "service does not have a previous spec")
	refused(t, s.UpdateService(ctx, "web", ServiceUpdate{Version: now.Version.Index, Spec: spec("web"), Rollback: "next"}), model.Unfit, "unrecognized rollback option next")
	refused(t, s.UpdateService(ctx, "web", ServiceUpdate{Version: now.Version.Index, Spec: spec("new")}), model.NotImplemented,
		"rpc error: code = Unimplemented desc = renaming services is not supported")
}

// TestPredefinedNetworks: the object in the swarm stands for the network that every host has.
func TestPredefinedNetworks(t *testing.T) {
	m, ctx := newManager(t), t.Context()
	m.put(t, func(tx store.Tx) error {
		return store.CreateNetwork(tx, &api.Network{ID: "in-the-swarm", Spec: api.NetworkSpec{
			Annotations: api.Annotations{Name: "bridge", Labels: map[string]string{"com.docker.swarm.predefined": "true"}}, DriverConfig: &api.Driver{Name: "bridge"}}})
	})
	s := New(m.o)
	for _, ref := range []string{"bridge", "b1", "in-the-swarm"} {
		one := spec("on-" + ref)
		one.TaskTemplate.Networks = []wire.NetworkAttachmentConfig{{Target: ref}}
		if _, err := s.CreateService(ctx, one, ""); err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if got, _ := s.Service(ctx, one.Name, false); got.Spec.TaskTemplate.Networks[0].Target != "in-the-swarm" {
			t.Errorf("%s: the service is on %+v", ref, got.Spec.TaskTemplate.Networks)
		}
	}
}

func TestTasks(t *testing.T) {
	m, ctx := newManager(t), t.Context()
	s := New(m.o)
	id, err := s.CreateService(ctx, spec("web"), "")
	if err != nil {
		t.Fatal(err)
	}
	m.put(t, func(tx store.Tx) error {
		container := api.TaskSpec{Runtime: &api.TaskSpec_Container{Container: &api.ContainerSpec{}}}
		return errors.Join(
			store.CreateNode(tx, &api.Node{ID: "node1", Description: &api.NodeDescription{Hostname: "h1"}}),
			store.CreateTask(tx, &api.Task{ID: "task1", ServiceID: id, NodeID: "node1", Slot: 1, DesiredState: api.TaskStateRunning, Spec: container, ServiceAnnotations: api.Annotations{Name: "web"}}),
			store.CreateTask(tx, &api.Task{ID: "task2", ServiceID: id, NodeID: "node2", Slot: 2, DesiredState: api.TaskStateShutdown, Spec: container, ServiceAnnotations: api.Annotations{Name: "web"}}),
			store.CreateTask(tx, &api.Task{ID: "place", NodeID: "node1", Spec: api.TaskSpec{Runtime: &api.TaskSpec_Attachment{Attachment: &api.NetworkAttachmentSpec{ContainerID: "c"}}}}),
		)
	})
	for name, c := range map[string]struct {
		f    TaskFilter
		want string
	}{
		"containers":    {TaskFilter{}, "task1 task2"},
		"of a service":  {TaskFilter{Services: []string{"web"}}, "task1 task2"},
		"on a node":     {TaskFilter{Nodes: []string{"h1"}}, "task1"},
		"to run":        {TaskFilter{Desired: []string{"running", ""}}, "task1"},
		"attachments":   {TaskFilter{Runtimes: []string{"attachment"}}, "place"},
		"by beginnings": {TaskFilter{IDs: []string{"task2", "x"}}, "task2"},
	} {
		list, err := s.Tasks(ctx, c.f)
		var got []string
		for _, one := range list {
			got = append(got, one.ID)
		}
		slices.Sort(got)
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, %v, want %s", name, got, err, c.want)
		}
	}
	_, err = s.Tasks(ctx, TaskFilter{Services: []string{"absent"}})
	refused(t, err, model.NotFound, "service absent not found")
	_, err = s.Tasks(ctx, TaskFilter{Nodes: []string{"absent"}})
	refused(t, err, model.NotFound, "node absent not found")
	_, err = s.Tasks(ctx, TaskFilter{Desired: []string{"asleep"}})
	refused(t, err, model.Unfit, "Invalid desired-state filter: 'asleep'")
	if got, err := s.Task(ctx, "task1"); err != nil || got.ServiceID != id || got.Slot != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = s.Task(ctx, "task")
	refused(t, err, model.Invalid, "task task is ambiguous (2 matches found)")
}

// files are the verbs that secrets and configs have alike.
type files struct {
	kind   string
	create func(name, data string) (string, error)
	list   func(FileFilter) (names []string, err error)
	find   func(ref string) (id, data string, version uint64, err error)
	update func(ref string, version uint64, label string) error
	remove func(ref string) error
}

func filesOf(ctx context.Context, o Options) []files {
	secrets, configs := NewSecrets(o), NewConfigs(o)
	return []files{{
		"secret",
		func(name, data string) (string, error) {
			return secrets.Create(ctx, wire.SecretSpec{Annotations: wire.Annotations{Name: name}, Data: []byte(data)})
		},
		func(f FileFilter) (names []string, err error) {
			list, err := secrets.List(ctx, f)
			for _, one := range list {
				names = append(names, one.Spec.Name)
			}
			return names, err
		},
		func(ref string) (string, string, uint64, error) {
			one, err := secrets.Find(ctx, ref)
			return one.ID, string(one.Spec.Data), one.Version.Index, err
		},
		func(ref string, version uint64, label string) error {
			return secrets.Update(ctx, ref, version, wire.SecretSpec{Annotations: wire.Annotations{Name: ref, Labels: map[string]string{label: ""}}})
		},
		func(ref string) error { return secrets.Remove(ctx, ref) },
	}, {
		"config",
		func(name, data string) (string, error) {
			return configs.Create(ctx, wire.ConfigSpec{Annotations: wire.Annotations{Name: name}, Data: []byte(data)})
		},
		func(f FileFilter) (names []string, err error) {
			list, err := configs.List(ctx, f)
			for _, one := range list {
				names = append(names, one.Spec.Name)
			}
			return names, err
		},
		func(ref string) (string, string, uint64, error) {
			one, err := configs.Find(ctx, ref)
			return one.ID, string(one.Spec.Data), one.Version.Index, err
		},
		func(ref string, version uint64, label string) error {
			return configs.Update(ctx, ref, version, wire.ConfigSpec{Annotations: wire.Annotations{Name: ref, Labels: map[string]string{label: ""}}})
		},
		func(ref string) error { return configs.Remove(ctx, ref) },
	}}
}

func TestSecretsAndConfigs(t *testing.T) {
	m, ctx := newManager(t), t.Context()
	for _, f := range filesOf(ctx, m.o) {
		id, err := f.create("one", "what it says")
		if err != nil {
			t.Fatal(f.kind, err)
		}
		_, err = f.create("one", "again")
		refused(t, err, model.Conflict, "rpc error: code = AlreadyExists desc = "+f.kind+" one already exists")
		_, err = f.create("none", "")
		if model.KindOf(err) != model.Invalid || !strings.Contains(err.Error(), f.kind+" data must be larger than 0 and less than") {
			t.Errorf("%s: nothing in it: %v", f.kind, err)
		}
		got, data, version, err := f.find("one")
		if err != nil || got != id || (data == "what it says") != (f.kind == "config") {
			t.Errorf("%s: found %s, %q, %v", f.kind, got, data, err)
		}
		if err := f.update("one", version, "l"); err != nil {
			t.Errorf("%s: %v", f.kind, err)
		}
		if names, err := f.list(FileFilter{Labels: map[string]string{"l": ""}}); err != nil || !slices.Equal(names, []string{"one"}) {
			t.Errorf("%s: %v, %v", f.kind, names, err)
		}
		if names, err := f.list(FileFilter{Names: []string{"two"}}); err != nil || len(names) != 0 {
			t.Errorf("%s: %v, %v", f.kind, names, err)
		}
		_, _, _, err = f.find("absent")
		refused(t, err, model.NotFound, f.kind+" absent not found")
		if err := f.remove(id[:20]); err != nil {
			t.Errorf("%s: %v", f.kind, err)
		}
		refused(t, f.remove("one"), model.NotFound, f.kind+" one not found")
		refused(t, f.update("one", 1, "l"), model.NotFound, f.kind+" one not found")
	}
}

// TestSecretsInUse: what a service uses stays.
func TestSecretsInUse(t *testing.T) {
	m, ctx := newManager(t), t.Context()
	for _, f := range filesOf(ctx, m.o) {
		id, err := f.create("one", "data")
		if err != nil {
			t.Fatal(err)
		}
		one := spec("uses-" + f.kind)
		if f.kind == "secret" {
			one.TaskTemplate.ContainerSpec.Secrets = []*wire.SecretReference{{SecretID: id, SecretName: "one", File: &wire.SecretReferenceFileTarget{Name: "f"}}}
		} else {
			one.TaskTemplate.ContainerSpec.Configs = []*wire.ConfigReference{{ConfigID: id, ConfigName: "one", File: &wire.ConfigReferenceFileTarget{Name: "f"}}}
		}
		if _, err := New(m.o).CreateService(ctx, one, ""); err != nil {
			t.Fatal(err)
		}
		refused(t, f.remove("one"), model.Invalid, "rpc error: code = InvalidArgument desc = "+f.kind+" 'one' is in use by the following service: uses-"+f.kind)
	}
}

// TestFollow: what happens to objects of the swarm is told in Docker's words.
func TestFollow(t *testing.T) {
	m := newManager(t)
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan events.Message, 64), make(chan error, 1)
	go func() { ended <- Follow(ctx, m.Manager, func(e events.Message) { told <- e }) }()
	s := New(m.o)
	// Following begins at some moment: secrets are made until one is told of.
	begun, made := events.Message{}, 0
	for deadline := time.Now().Add(10 * time.Second); begun.Type == ""; made++ {
		if time.Now().After(deadline) {
			t.Fatal("nothing is told")
		}
		if _, err := NewSecrets(m.o).Create(ctx, wire.SecretSpec{Annotations: wire.Annotations{Name: "s" + strings.Repeat("x", made)}, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		select {
		case begun = <-told:
		case <-time.After(20 * time.Millisecond):
		}
	}
	if begun.Action != "create" || begun.Type != "secret" || begun.Scope != "swarm" || begun.TimeNano == 0 {
		t.Errorf("%+v", begun)
	}
	id, err := s.CreateService(ctx, spec("web"), "")
	if err != nil {
		t.Fatal(err)
	}
	now, _ := s.Service(ctx, "web", false)
	next, two := spec("web"), uint64(2)
	next.Mode.Replicated = &wire.ReplicatedService{Replicas: &two}
	next.TaskTemplate.ContainerSpec.Image = "alpine"
	if err := s.UpdateService(ctx, "web", ServiceUpdate{Version: now.Version.Index, Spec: next}); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveService(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	var got []events.Message
	for len(got) < 3 {
		select {
		case e := <-told:
			if e.Type == "service" {
				got = append(got, e)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("after %+v nothing is told", got)
		}
	}
	update := got[1].Actor.Attributes
	if got[0].Action != "create" || got[1].Action != "update" || got[2].Action != "remove" || got[0].Actor.ID != id ||
		update["name"] != "web" || update["image.old"] != "busybox" || update["image.new"] != "alpine" || update["replicas.old"] != "1" || update["replicas.new"] != "2" {
		t.Errorf("%+v", got)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("following ended without a reason")
	}
}

// TestNodeChanges: what has changed of a node is told, and nothing else.
func TestNodeChanges(t *testing.T) {
	old := &api.Node{ID: "n", Description: &api.NodeDescription{Hostname: "h1"}, ManagerStatus: &api.ManagerStatus{}}
	now := old.Copy()
	now.Spec.Availability, now.Status.State, now.ManagerStatus.Leader = api.NodeAvailabilityDrain, api.NodeStatus_DOWN, true
	e, ok := messageOf(&api.WatchMessage_Event{Action: api.WatchActionKindUpdate,
		Object: &api.Object{Object: &api.Object_Node{Node: now}}, OldObject: &api.Object{Object: &api.Object_Node{Node: old}}}, time.Unix(5, 0))
	want := map[string]string{"name": "h1", "availability.old": "active", "availability.new": "drain", "state.old": "unknown", "state.new": "down", "leader.old": "false", "leader.new": "true"}
	if !ok || len(e.Actor.Attributes) != len(want) || e.Time != 5 {
		t.Fatalf("%+v", e)
	}
	for name, value := range want {
		if e.Actor.Attributes[name] != value {
			t.Errorf("%s is %q, want %q", name, e.Actor.Attributes[name], value)
		}
	}
	for _, none := range []*api.WatchMessage_Event{{}, {Action: api.WatchActionKindCreate}, {Action: 77, Object: &api.Object{}}, {Action: api.WatchActionKindCreate, Object: &api.Object{Object: &api.Object_Task{Task: &api.Task{}}}}} {
		if e, ok := messageOf(none, time.Now()); ok {
			t.Errorf("%+v is told as %+v", none, e)
		}
	}
}

// TestTail: how many lines of before are asked for.
func TestTail(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "all": 0, "0": -1, "10": -11} {
		if got, err := tailOf(text); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	_, err := tailOf("x")
	refused(t, err, model.Unfit, `tail value must be a positive integer or "all"`)
	_, err = tailOf("-1")
	refused(t, err, model.Unfit, "negative tail values not supported")
}
