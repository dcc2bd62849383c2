package containers

import (
	"context"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

func TestList(t *testing.T) {
	b := newBench(t)
	one := b.run("one", func(r *CreateRequest) { r.Config.Labels = map[string]string{"a": "b"} })
	two := b.run("two", func(r *CreateRequest) { r.Host.NetworkMode = "web" })
	three := b.create("three", nil)
	b.end(one, 3)
	for _, c := range []struct {
		name string
		o    ListOptions
		want []string
	}{
		{"running", ListOptions{}, []string{two}},
		{"all", ListOptions{All: true}, []string{three, two, one}},
		{"limit", ListOptions{Limit: 2}, []string{three, two}},
		{"name", ListOptions{All: true, Filters: Filters{"name": {"^/t"}}}, []string{three, two}},
		{"id", ListOptions{All: true, Filters: Filters{"id": {one[:12]}}}, []string{one}},
		{"status", ListOptions{Filters: Filters{"status": {"created", "exited"}}}, []string{three, one}},
		{"exited", ListOptions{Filters: Filters{"exited": {"3"}}}, []string{one}},
		{"label", ListOptions{All: true, Filters: Filters{"label": {"a=b", "from"}}}, []string{one}},
		{"network", ListOptions{All: true, Filters: Filters{"network": {"web"}}}, []string{two}},
		{"ancestor", ListOptions{All: true, Filters: Filters{"ancestor": {"busybox:latest"}, "name": {"one"}}}, []string{one}},
		{"before", ListOptions{All: true, Filters: Filters{"before": {"three"}}}, []string{two, one}},
		{"since", ListOptions{All: true, Filters: Filters{"since": {"one"}, "before": {"three"}}}, []string{two}},
		{"expose", ListOptions{Filters: Filters{"expose": {"80/tcp"}}}, []string{two}},
		{"is no task", ListOptions{Filters: Filters{"is-task": {"0"}}}, []string{two}},
		{"is a task", ListOptions{All: true, Filters: Filters{"is-task": {"true"}}}, nil},
		{"what is no pattern", ListOptions{All: true, Filters: Filters{"name": {"("}}}, nil},
		{"expose another", ListOptions{Filters: Filters{"expose": {"81-90/tcp"}}}, nil},
	} {
		got, err := b.List(ctx, c.o)
		must(t, err)
		var ids []string
		for _, s := range got {
			ids = append(ids, s.ID)
		}
		equal(t, c.name, ids, c.want)
	}
	_, err := b.List(ctx, ListOptions{Filters: Filters{"odd": {"1"}}})
	refused(t, err, model.Invalid, "invalid filter 'odd'")
	_, err = b.List(ctx, ListOptions{Filters: Filters{"status": {"odd"}}})
	refused(t, err, model.Invalid, "invalid value for state (odd)")
	_, err = b.List(ctx, ListOptions{Filters: Filters{"is-task": {"odd"}}})
	refused(t, err, model.Invalid, "invalid filter 'is-task=[odd]'")
	got, err := b.List(ctx, ListOptions{})
	must(t, err)
	if s := got[0]; s.Names[0] != "/two" || s.Command != "sh" || len(s.Ports) != 1 || s.HostConfig.NetworkMode != "web" || s.Status == "" {
		t.Fatalf("summary %+v", s)
	}
	if running, paused, stopped := b.Counts(); running != 1 || paused != 0 || stopped != 2 {
		t.Fatalf("counts %d %d %d", running, paused, stopped)
	}
}

func TestCreateIsAnEvent(t *testing.T) {
	b := newBench(t)
	none, live := b.Subscribe(ctx, time.Time{}, time.Time{}, func(e events.Message) bool { return e.Type == events.ContainerEventType })
	if len(none) != 0 {
		t.Fatal("the past was not asked for")
	}
	b.Publish(events.Message{Type: events.NetworkEventType, Action: "other"})
	id := b.create("one", func(r *CreateRequest) { r.Config.Labels = map[string]string{"l": "v"} })
	if got := receive(t, live); got.Action != "create" || got.Actor.ID != id || got.Actor.Attributes["name"] != "one" ||
		got.Actor.Attributes["l"] != "v" || got.Actor.Attributes["image"] != "busybox" {
		t.Fatalf("%+v", got)
	}
}

func TestCreateDuringRun(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	if users := b.ImageUsers("sha256:0123456789abcdef"); !users[model.ContainerID(id)] {
		t.Fatalf("users %v", users)
	}
	if tty, err := b.IsTTY(id); err != nil || tty {
		t.Fatalf("tty %t %v", tty, err)
	}
	if got := b.inspect(id).State.Status; got != container.StateRunning {
		t.Fatal(got)
	}
}

// sizes knows one container.
type sizes struct{ id model.ContainerID }

func (s sizes) LayerSizes(_ context.Context, id model.ContainerID) (written, image int64, err error) {
	if id != s.id {
		return 0, 0, model.Errorf(model.NotFound, "no container")
	}
	return 7, 100, nil
}

// TestListSizes: sizes are told if they are asked for, and 0 of what was never started.
func TestListSizes(t *testing.T) {
	b := newBench(t)
	id := b.create("one", nil)
	b.create("two", nil)
	b.reopen(func() { b.sizes = sizes{model.ContainerID(id)} })
	for _, asked := range []bool{false, true} {
		list, err := b.List(ctx, ListOptions{All: true, Size: asked})
		must(t, err)
		for _, c := range list {
			written, all := c.SizeRw, c.SizeRootFs
			if c.ID == id && asked && (written != 7 || all != 107) || (c.ID != id || !asked) && written+all != 0 {
				t.Errorf("%s, asked %v: %d of %d", c.Names, asked, written, all)
			}
		}
	}
}
