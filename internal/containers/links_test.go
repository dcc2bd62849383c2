package containers

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

func linking(links ...string) func(*CreateRequest) {
	return func(r *CreateRequest) { r.Host.Links = links }
}

// line returns the line of the hosts file that has the word, or nothing.
func (b *bench) line(id, word string) string {
	b.t.Helper()
	for line := range strings.Lines(b.file(id, "hosts")) {
		if slices.Contains(strings.Fields(line)[1:], word) {
			return strings.TrimSuffix(line, "\n")
		}
	}
	return ""
}

func (b *bench) address(id string) string {
	return b.inspect(id).NetworkSettings.Networks["bridge"].IPAddress.String()
}

func TestLinksInHosts(t *testing.T) {
	b := newBench(t)
	db := b.run("db", nil)
	app := b.run("app", linking("db", "db:store", "/db:/other/third"))
	short := model.Short(model.ContainerID(db))
	equal(t, "lines", []string{b.line(app, short), b.line(app, "store"), b.line(app, "third")}, []string{
		b.address(db) + "\tdb " + short, b.address(db) + "\tstore " + short + " db", b.address(db) + "\tthird " + short + " db"})
	if text := b.file(db, "hosts"); strings.Contains(text, "app") {
		t.Errorf("the target knows who links to it:\n%s", text)
	}
	equal(t, "inspect", b.inspect(app).HostConfig.Links, []string{"/db:/app/db", "/db:/app/store", "/db:/app/third"})
	list, err := b.List(context.Background(), ListOptions{All: true})
	must(t, err)
	equal(t, "names in the list", list[1].Names, []string{"/db", "/app/db", "/app/store", "/app/third"})
}

func TestLinksFollowTheirTarget(t *testing.T) {
	ctx := context.Background()
	b := newBench(t)
	db := b.run("db", nil)
	app := b.run("app", linking("db:store"))
	old := b.address(db)
	edited := b.file(app, "hosts") + "# mine\n"
	must(t, os.WriteFile(b.dirs.Files(model.ContainerID(app)).Hosts, []byte(edited), 0o644))

	must(t, b.Stop(ctx, db, StopOptions{}))
	squatter := b.run("squatter", nil)
	equal(t, "the squatter's address", []string{b.address(squatter)}, []string{old})
	must(t, b.Start(ctx, db))
	if now := b.address(db); now == old || !strings.HasPrefix(b.line(app, "store"), now+"\t") {
		t.Errorf("the target went from %s to %s, the line is %q", old, now, b.line(app, "store"))
	}
	must(t, b.Rename(ctx, db, "base"))
	if got := b.line(app, "base"); !strings.HasSuffix(got, " base") || b.line(app, "db") != "" {
		t.Errorf("after a rename: %q", b.file(app, "hosts"))
	}
	if !strings.HasSuffix(b.file(app, "hosts"), "# mine\n") {
		t.Errorf("what the user wrote is gone:\n%s", b.file(app, "hosts"))
	}
	must(t, b.Restart(ctx, app, StopOptions{}))
	equal(t, "inspect", b.inspect(app).HostConfig.Links, []string{"/base:/app/store"})

	// A link is to the container, not to its name.
	must(t, b.Remove(ctx, db, RemoveOptions{Force: true}))
	b.run("base", nil)
	must(t, b.Restart(ctx, app, StopOptions{}))
	if got := b.line(app, "store"); got != "" {
		t.Errorf("the link of a container that is gone: %q", got)
	}
	equal(t, "inspect", b.inspect(app).HostConfig.Links, nil)
}

func TestRestartKeepsTheAddress(t *testing.T) {
	ctx := context.Background()
	b := newBench(t)
	one := b.run("one", nil)
	before := b.address(one)
	for range 3 {
		must(t, b.Restart(ctx, one, StopOptions{}))
		b.run("", nil)
	}
	equal(t, "address", []string{b.address(one)}, []string{before})
}

func TestRemoveLink(t *testing.T) {
	ctx := context.Background()
	b := newBench(t)
	b.run("db", nil)
	app := b.run("app", linking("db:one", "db:two"))
	must(t, b.RemoveLink(ctx, "/app/one"))
	if b.line(app, "one") != "" || b.line(app, "two") == "" {
		t.Errorf("hosts:\n%s", b.file(app, "hosts"))
	}
	equal(t, "inspect", b.inspect(app).HostConfig.Links, []string{"/db:/app/two"})
	opened := func() int {
		sb, _ := b.engine.Snapshot().Sandbox(b.entries[model.ContainerID(app)].snapshot().Sandbox)
		return len(sb.Links)
	}
	if opened() != 1 {
		t.Error("the other link lost what it opens")
	}
	must(t, b.RemoveLink(ctx, "app/two"))
	if opened() != 0 {
		t.Error("a link that is gone still opens something")
	}
	refused(t, b.RemoveLink(ctx, "app/two"), model.NotFound, "No such link: /app/two")
	refused(t, b.RemoveLink(ctx, "nobody/two"), model.NotFound, "Cannot get parent nobody for link name nobody/two")
	refused(t, b.RemoveLink(ctx, "/app"), model.Conflict, "cannot remove the default link name of the container")
}

func TestLinkRefusals(t *testing.T) {
	ctx := context.Background()
	b := newBench(t)
	b.create("idle", nil)
	b.run("alone", func(r *CreateRequest) { r.Host.NetworkMode = "none" })
	b.run("host", func(r *CreateRequest) { r.Host.NetworkMode = "host" })
	for _, c := range []struct{ link, want string }{
		{"nobody", "could not get container for nobody: No such container: nobody"},
		{"", "empty string specified for links"},
		{"a:b:c", "bad format for links: a:b:c"},
		{"idle:", "bad format for links: idle:"},
		{"idle:a b", "bad format for links: idle:a b"},
		{"host", containerspec.HostAndLinks},
	} {
		_, _, err := b.Create(ctx, request("", linking(c.link)))
		refused(t, err, model.Invalid, c.want)
	}
	lonely := b.create("lonely", linking("idle"))
	refused(t, b.Start(ctx, lonely), model.Unfit, "Cannot link to a non running container: /idle AS /lonely/idle")
	apart := b.create("apart", linking("alone"))
	refused(t, b.Start(ctx, apart), model.Unfit, "Cannot link to /alone, as it does not belong to the default network")
	// Who is not on the default bridge has no use for links there.
	must(t, b.Start(ctx, b.create("none", func(r *CreateRequest) { r.Host.NetworkMode, r.Host.Links = "none", []string{"idle"} })))
}

func TestLinkEnvironment(t *testing.T) {
	b := newBench(t)
	b.o.Defaults.LinkEnvironment = true
	db := b.run("db", func(r *CreateRequest) {
		r.Config.Env = []string{"PASSWORD=secret"}
		r.Config.ExposedPorts = network.PortSet{network.MustParsePort("5432/tcp"): {}}
	})
	app := b.entries[model.ContainerID(b.run("app", linking("db")))].snapshot()
	got := b.specs.process(app).Env
	for _, want := range []string{"DB_PORT_5432_TCP=tcp://" + b.address(db) + ":5432", "DB_NAME=/app/db", "DB_ENV_PASSWORD=secret"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in %q", want, got)
		}
	}
	// The target comes back elsewhere, and the one with the link learns of it when it starts again.
	old, ctx := b.address(db), context.Background()
	must(t, b.Stop(ctx, db, StopOptions{}))
	b.run("squatter", nil)
	must(t, b.Start(ctx, db))
	must(t, b.Restart(ctx, string(app.ID), StopOptions{}))
	made := b.runtime.made[app.ID].Process.Env
	if now := "DB_PORT_5432_TCP=tcp://" + b.address(db) + ":5432"; b.address(db) == old || !slices.Contains(made, now) {
		t.Errorf("after the target went from %s to %s: %q", old, b.address(db), made)
	}
	b.o.Defaults.LinkEnvironment = false
	if got := b.specs.process(app).Env; slices.ContainsFunc(got, func(v string) bool { return strings.HasPrefix(v, "DB_") }) {
		t.Errorf("without the switch: %q", got)
	}
}
