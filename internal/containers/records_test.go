package containers

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// known is what is said of a container: by its record, by the one that is stored, by
// its sandbox, and in the hosts file of whoever links to it.
func (b *bench) known(id, linker string) string {
	b.t.Helper()
	s := b.engine.Snapshot()
	c, _ := s.Container(model.ContainerID(id))
	rec, err := decodeRecord(c.ID, c.Document)
	must(b.t, err)
	sb, _ := s.SandboxOf(c.ID)
	named := map[string]string{}
	for _, name := range []string{"db", "new"} {
		if found, err := b.find(name); err == nil {
			named[name] = string(found.id[:6])
		}
	}
	live, _ := b.find(id)
	shown := live.snapshot()
	text := fmt.Sprintf("%s %s %s %s %v %v %v %v", shown.Name, c.Name, rec.Name, sb.Name, shown.Links, rec.Links, sb.Links, named)
	if linker != "" {
		text += "\n" + b.file(linker, "hosts")
	}
	return text
}

// TestRefusedChangesLeaveEverything: a name, a link and an end that cannot be stored
// leave record, sandbox, names and files as they were.
func TestRefusedChangesLeaveEverything(t *testing.T) {
	b := newBench(t)
	db := b.run("db", nil)
	app := b.run("app", linking("db:store"))
	before, linking := b.known(db, app), b.known(app, app)
	b.engine.set(errBroken)
	for what, change := range map[string]func() error{
		"rename":      func() error { return b.Rename(ctx, "db", "new") },
		"remove link": func() error { return b.RemoveLink(ctx, "app/store") },
		"connect":     func() error { return b.Connect(ctx, "db", "web", nil) },
		"disconnect":  func() error { return b.Disconnect(ctx, "db", "bridge", false) },
	} {
		if err := change(); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", what, err)
		}
		if got := b.known(db, app); got != before {
			t.Errorf("after a refused %s:\n%s\nbefore:\n%s", what, got, before)
		}
		if got := b.known(app, app); got != linking {
			t.Errorf("after a refused %s:\n%s\nbefore:\n%s", what, got, linking)
		}
	}
	b.engine.set(nil)
	b.reopen(nil)
	if got := b.known(db, app); got != before {
		t.Errorf("after a restart:\n%s\nbefore:\n%s", got, before)
	}
	must(t, b.Rename(ctx, "db", "new"))
	must(t, b.RemoveLink(ctx, "app/store"))
}

// TestOneTurnAVerb: what belongs together is one op, and so one write to the store.
func TestOneTurnAVerb(t *testing.T) {
	b := newBench(t)
	var id string
	for _, c := range []struct {
		verb string
		want int
		do   func()
	}{
		{"create", 1, func() { id = b.create("one", nil) }},
		{"start", 2, func() { must(t, b.Start(ctx, id)) }}, // up, and running
		{"rename", 1, func() { must(t, b.Rename(ctx, id, "other")) }},
		{"exit", 1, func() { b.end(id, 3) }},
		{"remove", 1, func() { must(t, b.Remove(ctx, id, RemoveOptions{})) }},
	} {
		if got := b.engine.turns(c.do); got != c.want {
			t.Errorf("%s takes %d ops, want %d", c.verb, got, c.want)
		}
	}
}

// TestConcurrentCreatesOfOneName: one gets the name, the others are told who has it,
// and nothing is left of them.
func TestConcurrentCreatesOfOneName(t *testing.T) {
	b := newBench(t)
	const clients = 8
	results := make([]error, clients)
	var winner string
	var all sync.WaitGroup
	var mu sync.Mutex
	for i := range clients {
		all.Go(func() {
			id, _, err := b.Create(ctx, request("same", nil))
			mu.Lock()
			defer mu.Unlock()
			if results[i] = err; err == nil {
				winner = id
			}
		})
	}
	all.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
			continue
		}
		refused(t, err, model.Conflict, `Conflict. The container name "/same" is already in use by container "`+winner+`". `+
			"You have to remove (or rename) that container to be able to reuse that name.")
	}
	if won != 1 || b.engine.count() != 1 {
		t.Errorf("%d clients have got the name, %d containers are there", won, b.engine.count())
	}
	must(t, b.Remove(ctx, "same", RemoveOptions{}))
	b.nothingLeft()
}

// TestRemovalThatTheKernelRefuses: the container is gone all the same, and its
// network as soon as that can be.
func TestRemovalThatTheKernelRefuses(t *testing.T) {
	b := newBench(t)
	b.create("one", nil)
	b.engine.fail = errBroken // the record goes alone, the sandbox afterwards
	must(t, b.Remove(ctx, "one", RemoveOptions{}))
	b.nothingLeft()

	id := b.create("one", nil)
	b.engine.set(errBroken)
	if err := b.Remove(ctx, "one", RemoveOptions{}); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "delete record of container "+id[:12]) {
		t.Errorf("error %v", err)
	}
	b.engine.set(nil)
	if got := b.inspect(id).Name; got != "/one" {
		t.Errorf("it is called %s", got)
	}
	must(t, b.Remove(ctx, "one", RemoveOptions{}))
	b.nothingLeft()
}

// TestRestoreCatchesUpLinks: a daemon was killed between the record of a rename, or of
// a link's removal, and the hosts file of the one who has the link.
func TestRestoreCatchesUpLinks(t *testing.T) {
	b := newBench(t)
	db := b.run("db", nil)
	app := b.run("app", linking("db:store", "db:backup"))
	hosts := b.dirs.Files(model.ContainerID(app)).Hosts
	const users = "203.0.113.6\tmine\n"
	for what, change := range map[string]func() error{
		"rename":      func() error { return b.Rename(ctx, "db", "new") },
		"remove link": func() error { return b.RemoveLink(ctx, "app/backup") },
	} {
		old := strings.TrimSuffix(b.file(app, "hosts"), users)
		must(t, change())
		want := strings.TrimSuffix(b.file(app, "hosts"), users)
		if want == old {
			t.Fatalf("%s changes nothing in hosts:\n%s", what, old)
		}
		b.reopen(func() { must(t, containerfiles.Rewrite(hosts, []byte(old+users))) })
		if got := b.file(app, "hosts"); got != want+users {
			t.Errorf("%s, hosts:\n%swant:\n%s", what, got, want)
		}
		b.reopen(nil) // what is done already is left alone
		if got := b.file(app, "hosts"); got != want+users {
			t.Errorf("%s, after another restart, hosts:\n%swant:\n%s", what, got, want)
		}
	}
	if got := b.line(app, "store"); got != b.address(db)+"\tstore "+db[:12]+" new" {
		t.Errorf("line %q", got)
	}
}

// TestRestoreRemovesNobodysSandbox: a sandbox of no container at all is not the
// manager's to remove.
func TestRestoreRemovesNobodysSandbox(t *testing.T) {
	b := newBench(t)
	foreign, left := model.SandboxID(ids.New()), model.SandboxID(ids.New())
	b.reopen(func() {
		_, err := b.engine.Do(ctx, ops.All(ops.CreateSandbox(model.Sandbox{ID: foreign, Name: "pod", Mode: model.SandboxOwn}, nil),
			ops.CreateSandbox(model.Sandbox{ID: left, Container: model.ContainerID(ids.New()), Name: "gone", Mode: model.SandboxOwn}, nil)))
		must(t, err)
	})
	if _, ok := b.engine.Snapshot().Sandbox(foreign); !ok {
		t.Error("the sandbox of somebody else is gone")
	}
	if _, ok := b.engine.Snapshot().Sandbox(left); ok {
		t.Error("the sandbox of a container that is gone is left")
	}
}
