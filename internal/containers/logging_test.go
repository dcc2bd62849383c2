package containers

import (
	"io"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// TestLogAttributes: what log options choose of a container is noted in its log,
// anew with each start, and shown when it is asked for.
func TestLogAttributes(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) {
		r.Config.Labels, r.Config.Env = map[string]string{"team": "a b", "other": "x"}, []string{"PLACE=here=there"}
		r.Host.LogConfig.Config = map[string]string{"labels": "team,from", "env-regex": "^P", "tag": "{{.Name}} {{.Command}} {{.ImageName}} {{.ImageID}}"}
	})
	io.WriteString(b.runtime.process(id).out, "text\n")
	b.end(id, 0)
	var out buffer
	must(t, b.Logs(ctx, id, LogOptions{Stdout: true, Details: true, Tail: -1}, Streams{Stdout: &out}))
	want := "PATH=%2Fbin,PLACE=here%3Dthere,from=image,tag=one+sh+busybox+sha256%3A01234,team=a+b text\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
	var plain buffer
	must(t, b.Logs(ctx, id, LogOptions{Stdout: true, Tail: -1}, Streams{Stdout: &plain}))
	if plain.String() != "text\n" {
		t.Errorf("details that nobody asked for: %q", plain.String())
	}

	must(t, b.Rename(ctx, id, "two"))
	must(t, b.Start(ctx, id))
	if got := b.outputs.attributes(model.ContainerID(id))["tag"]; got != "two sh busybox sha256:01234" {
		t.Errorf("after the renaming: %q", got)
	}
}

func TestDetailsOfNothing(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	io.WriteString(b.runtime.process(id).out, "text\n")
	b.end(id, 0)
	var out buffer
	must(t, b.Logs(ctx, id, LogOptions{Stdout: true, Details: true, Tail: -1}, Streams{Stdout: &out}))
	if out.String() != " text\n" { // as with Docker
		t.Errorf("got %q", out.String())
	}
}

func TestLogAttributesRefused(t *testing.T) {
	b := newBench(t)
	for option, value := range map[string]string{"tag": "{{.No}}", "env-regex": "("} {
		_, _, err := b.Create(ctx, CreateRequest{Name: "one", Config: &container.Config{Image: "busybox"},
			Host: &container.HostConfig{LogConfig: container.LogConfig{Config: map[string]string{option: value}}}})
		refused(t, err, model.Invalid, "failed to create task for container: failed to initialize logging driver: ")
	}
	b.create("one", func(r *CreateRequest) { // the name is free, and what keeps no log needs no tag
		r.Host.LogConfig = container.LogConfig{Type: "none", Config: map[string]string{"tag": "{{"}}
	})
}
