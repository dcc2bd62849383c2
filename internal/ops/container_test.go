package ops_test

import (
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

func container(name string) model.ContainerID { return model.ContainerID(digits("c", name)) }

// called returns the record of a container that was made as one thing and is now
// called another.
func called(made, name, document string) model.Container {
	return model.Container{ID: container(made), Name: name, Document: []byte(document)}
}

// made makes a container with its record.
func made(name string, networks ...string) ops.Op {
	return ops.All(ops.CreateContainer(called(name, name, `{"by":"create"}`)), create(name, networks...))
}

// story is what the model says of a container: record, sandbox, names.
func (w *world) story(made, name, document string) {
	w.Helper()
	c, ok := w.now.Container(container(made))
	if !ok || c.Name != name || string(c.Document) != document {
		w.Errorf("the record is %s %s (%t), want %s %s", c.Name, c.Document, ok, name, document)
	}
	if c, ok := w.now.ContainerNamed(name); !ok || c.ID != container(made) {
		w.Errorf("%s is the name of %q", name, c.ID)
	}
	if sb, ok := w.now.SandboxOf(container(made)); !ok || sb.Name != name {
		w.Errorf("the sandbox of %s is called %q (%t)", name, sb.Name, ok)
	}
}

func TestContainerNamesAreUnique(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/24"), made("one", "web"), made("two", "web"))
	taken := `Conflict. The container name "/one" is already in use by container "` + string(container("one")) +
		`". You have to remove (or rename) that container to be able to reuse that name.`
	third := ops.All(ops.CreateContainer(called("third", "one", `{}`)), create("third", "web"))
	w.refuses(model.Conflict, taken, third)
	w.refuses(model.Conflict, taken, ops.All(create("third", "web"), ops.CreateContainer(called("third", "one", `{}`)))) // neither half stays
	w.refuses(model.Conflict, "Error when allocating new name: "+taken, ops.RenameContainer(called("two", "one", `{}`)))
	w.refuses(model.Conflict, "exists already", ops.CreateContainer(called("one", "other", `{}`)))
	w.story("one", "one", `{"by":"create"}`)
	w.story("two", "two", `{"by":"create"}`)

	// A name that was given up is free, in the same turn too.
	w.must(ops.All(ops.RenameContainer(called("one", "uno", `{"by":"rename"}`)), ops.RenameContainer(called("two", "one", `{"by":"rename"}`))))
	w.story("one", "uno", `{"by":"rename"}`)
	w.story("two", "one", `{"by":"rename"}`)
	w.must(ops.RemoveContainer(container("two")), third)
	if c, ok := w.now.ContainerNamed("one"); !ok || c.ID != container("third") {
		t.Errorf("a name that was given up is that of %q", c.ID)
	}
}

func TestRenameChangesAllOrNothing(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/24"), made("one", "web"), ops.StartSandbox(box("one")))
	refused := func(op ops.Op) ops.Op {
		return ops.All(op, ops.Connect(box("one"), ops.EndpointSpec{ID: "e", Network: "nowhere"}))
	}
	for _, op := range []ops.Op{ops.RenameContainer(called("one", "uno", `{}`)), ops.RemoveContainer(container("one")),
		ops.ForgetContainer(container("one")), ops.PutContainer(called("one", "one", `{}`))} {
		w.refuses(model.NotFound, "", refused(op))
		w.story("one", "one", `{"by":"create"}`)
	}
	w.must(ops.RenameContainer(called("one", "uno", `{"by":"rename"}`)))
	w.story("one", "uno", `{"by":"rename"}`)
	if _, ok := w.now.ContainerNamed("one"); ok {
		t.Error("the old name is somebody's")
	}
	w.refuses(model.NotFound, "No such container: "+string(container("two")), ops.RenameContainer(called("two", "two", `{}`)))

	// One that shares another's network has a record and nothing else.
	w.must(ops.CreateContainer(called("sharer", "sharer", `{}`)), ops.RenameContainer(called("sharer", "guest", `{}`)))
	if c, ok := w.now.ContainerNamed("guest"); !ok || c.ID != container("sharer") {
		t.Errorf("guest is the name of %q", c.ID)
	}
}

func TestPutContainer(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/24"), made("one", "web"), ops.PutContainer(called("one", "one", `{"by":"put"}`)))
	w.story("one", "one", `{"by":"put"}`)
	w.refuses(model.NotFound, "No such container: "+string(container("two")), ops.PutContainer(called("two", "two", `{}`)))
	w.refuses(model.Internal, "is called one, not uno", ops.PutContainer(called("one", "uno", `{}`)))
}

func TestRemoveContainerLeavesNothing(t *testing.T) {
	w := newWorld(t)
	linked := model.Sandbox{ID: box("app"), Container: container("app"), Name: "app", Mode: model.SandboxOwn,
		Links: []model.SandboxLink{{Target: box("db")}}}
	w.must(network("web", "10.0.0.0/24"), made("db", "web"),
		ops.All(ops.CreateContainer(called("app", "app", `{}`)), ops.CreateSandbox(linked, []ops.EndpointSpec{on("app", "web")})))
	w.must(ops.RemoveContainer(container("db")), ops.RemoveContainer(container("db")))
	if sb, _ := w.now.Sandbox(box("app")); len(sb.Links) != 0 {
		t.Errorf("links %v lead to a container that is gone", sb.Links)
	}
	w.must(ops.RemoveContainer(container("app")))
	if n := len(slices.Collect(w.now.Containers())) + len(slices.Collect(w.now.Sandboxes())) + len(slices.Collect(w.now.Endpoints())); n != 0 {
		t.Errorf("%d records are left", n)
	}
	if _, ok := w.now.ContainerNamed("db"); ok {
		t.Error("the name is somebody's")
	}

	// What the kernel does not let go of now has no name any more, and goes later.
	w.must(made("db", "web"), ops.StartSandbox(box("db")), ops.ForgetContainer(container("db")), made("other", "web"))
	if _, ok := w.now.ContainerNamed("db"); ok {
		t.Error("the name of a forgotten container is somebody's")
	}
	if sb, ok := w.now.SandboxOf(container("db")); !ok || !sb.Up {
		t.Error("the sandbox went with the record")
	}
	w.must(ops.RemoveContainer(container("db")))
	if _, ok := w.now.SandboxOf(container("db")); ok {
		t.Error("the sandbox is left")
	}
}
