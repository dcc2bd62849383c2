package containers

import (
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// TestContainersOfTasks: what a swarm asks of a container besides is kept over a restart
// of the daemon, and its files are seen by the container only.
func TestContainersOfTasks(t *testing.T) {
	b := newBench(t)
	stands := &model.ServiceEndpoint{Service: "s1", Name: "shop", Task: "t1"}
	b.create("plain", nil)
	id := b.create("shop.1.t1", func(r *CreateRequest) {
		r.Host.NetworkMode = "web"
		settle(r, "web", &network.EndpointSettings{})
		r.Task = &containerspec.Task{
			Services: map[string]*model.ServiceEndpoint{"web": stands},
			Files:    []containerspec.MountPoint{{MountPoint: container.MountPoint{Type: mount.TypeBind, Source: "/run/x/0", Destination: "/run/secrets/key"}, Unlisted: true}},
		}
	})
	must(t, b.Start(ctx, id))
	must(t, b.SetServing(ctx, id, true))
	b.reopen(nil)
	sb, _ := b.engine.Snapshot().SandboxOf(model.ContainerID(id))
	e := b.engine.Snapshot().EndpointsInOrder(sb.ID)[0]
	if !sb.Serving || e.Service == nil || e.Service.Name != "shop" {
		t.Errorf("serving %t, and stands for %+v", sb.Serving, e.Service)
	}
	if got := b.inspect(id).Mounts; len(got) != 0 {
		t.Errorf("its files are told: %+v", got)
	}
	spec := b.runtime.made[model.ContainerID(id)]
	if !slices.ContainsFunc(spec.Mounts, func(m model.Mount) bool {
		return m.Target == "/run/secrets/key" && m.Source == "/run/x/0" && m.ReadOnly
	}) {
		t.Errorf("it has %+v", spec.Mounts)
	}
	for only, want := range map[string]string{"true": "/shop.1.t1", "false": "/plain"} {
		list, err := b.List(ctx, ListOptions{All: true, Filters: Filters{"is-task": {only}}})
		must(t, err)
		if len(list) != 1 || list[0].Names[0] != want {
			t.Errorf("is-task=%s: %+v", only, list)
		}
	}
	must(t, b.Stop(ctx, id, StopOptions{}))
	if sb, _ := b.engine.Snapshot().SandboxOf(model.ContainerID(id)); sb.Serving {
		t.Error("it serves, and does not run")
	}
	must(t, b.SetServing(ctx, id, true))
	if sb, _ := b.engine.Snapshot().SandboxOf(model.ContainerID(id)); sb.Serving {
		t.Error("one that does not run is made to serve")
	}
	refused(t, b.SetServing(ctx, "absent", true), model.NotFound, "No such container: absent")
}
