package workload

import (
	"io"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

func TestCheckLogging(t *testing.T) {
	const driver = "failed to create task for container: failed to initialize logging driver: "
	for _, c := range []struct {
		name, driver string
		options      map[string]string
		want         string // empty: it may be
	}{
		{"nothing", "", nil, ""},
		{"no log", "none", map[string]string{"max-size": "x"}, ""},
		{"everything", "json-file", map[string]string{"max-size": "10m", "max-file": "3", "compress": "true", "labels": "a", "env": "B",
			"labels-regex": "^a", "env-regex": "^b", "tag": "x", "mode": "non-blocking", "max-buffer-size": "4m"}, ""},
		{"another driver", "syslog", nil, "logger: no log driver named 'syslog' is registered"},
		{"another's option", "", map[string]string{"syslog-address": "x"}, "unknown log opt 'syslog-address' for json-file log driver"},
		{"size in words", "", map[string]string{"max-size": "big"}, driver + "invalid size: 'big'"},
		{"size of nothing", "", map[string]string{"max-size": "0"}, driver + "max-size must be a positive number"},
		{"no file", "", map[string]string{"max-file": "0"}, driver + "max-file cannot be less than 1"},
		{"files in words", "", map[string]string{"max-file": "a"}, driver + `strconv.Atoi: parsing "a": invalid syntax`},
		{"one file compressed", "", map[string]string{"compress": "true", "max-size": "1m"},
			driver + "compress cannot be true when max-file is less than 2 or max-size is not set"},
		{"perhaps compressed", "", map[string]string{"compress": "x"}, driver + `strconv.ParseBool: parsing "x": invalid syntax`},
		{"no mode", "", map[string]string{"mode": "loud"}, "logger: logging mode not supported: loud"},
		{"buffer that blocks", "", map[string]string{"max-buffer-size": "1m"},
			"logger: max-buffer-size option is only supported with 'mode=non-blocking'"},
		{"buffer in words", "", map[string]string{"mode": "non-blocking", "max-buffer-size": "x"},
			"error parsing option max-buffer-size: invalid size: 'x'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := checkLogging(CreateRequest{Host: &container.HostConfig{LogConfig: container.LogConfig{Type: c.driver, Config: c.options}}})
			if c.want == "" {
				must(t, err)
				return
			}
			refused(t, err, model.Invalid, c.want)
		})
	}
}

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
