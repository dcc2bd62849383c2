package containers

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containers/ocierror"
	"github.com/linkspan/linkspan/internal/model"
)

// exec returns the process of an exec once it runs.
func (b *bench) exec(id string) *fakeProcess {
	b.t.Helper()
	var p *fakeProcess
	soon(b.t, "the exec runs", func() bool {
		got, err := b.InspectExec(ctx, id)
		must(b.t, err)
		b.runtime.mu.Lock()
		defer b.runtime.mu.Unlock()
		p = b.runtime.execs[id]
		return got.Running && p != nil
	})
	return p
}

func TestExec(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	e, err := b.CreateExec(ctx, "one", container.ExecCreateRequest{Cmd: []string{"cat", "-"}, User: "1:2", Env: []string{"A=b"},
		WorkingDir: "/d", Privileged: true, AttachStdin: true, AttachStdout: true, AttachStderr: true})
	must(t, err)
	var out, errs buffer
	done := make(chan error, 1)
	go func() {
		done <- b.StartExec(ctx, e, ExecStart{}, Streams{Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errs})
	}()
	p := b.exec(e)
	soon(t, "input arrives", func() bool { return p.in.String() == "hello" })
	io.WriteString(p.out, "hello")
	io.WriteString(p.err, "warned")
	b.runtime.finish(p, 4)
	must(t, receive(t, done))
	got, err := b.InspectExec(ctx, e)
	must(t, err)
	if got.Running || got.ExitCode == nil || *got.ExitCode != 4 || out.String() != "hello" || errs.String() != "warned" {
		t.Fatalf("%+v, out %q, err %q", got, out.String(), errs.String())
	}
	spec := b.runtime.execSpec[e]
	if spec.User != "1:2" || spec.Dir != "/d" || !spec.Privileged || spec.Env[0] != "A=b" || !spec.Stdin {
		t.Fatalf("process %+v", spec)
	}
	refused(t, b.StartExec(ctx, e, ExecStart{}, Streams{}), model.Conflict, "has already run")
	b.end(id, 0)
	must(t, b.Remove(ctx, id, RemoveOptions{}))
	_, err = b.InspectExec(ctx, e)
	refused(t, err, model.NotFound, "No such exec instance: "+e)
}

func TestExecRefuses(t *testing.T) {
	b := newBench(t)
	id := b.create("one", nil)
	_, err := b.CreateExec(ctx, id, container.ExecCreateRequest{Cmd: []string{"true"}})
	refused(t, err, model.Conflict, "is not running")
	must(t, b.Start(ctx, id))
	_, err = b.CreateExec(ctx, id, container.ExecCreateRequest{})
	refused(t, err, model.Invalid, "No exec command specified")

	e, err := b.CreateExec(ctx, id, container.ExecCreateRequest{Cmd: []string{"nope"}})
	must(t, err)
	b.runtime.failStart = unstartable(127, `OCI runtime exec failed: exec: "nope": executable file not found in $PATH`)
	refused(t, b.StartExec(ctx, e, ExecStart{}, Streams{}), model.Invalid, "executable file not found")
	got, err := b.InspectExec(ctx, e)
	must(t, err)
	if got.ExitCode == nil || *got.ExitCode != ocierror.NotFound {
		t.Fatalf("exit code %v", got.ExitCode)
	}

	e, err = b.CreateExec(ctx, id, container.ExecCreateRequest{Cmd: []string{"true"}, User: "nobody"})
	must(t, err)
	b.runtime.failStart = model.Errorf(model.Invalid, "unable to find user nobody: no matching entries in passwd file")
	refused(t, b.StartExec(ctx, e, ExecStart{}, Streams{}), model.Invalid, "unable to find user nobody")
	got, err = b.InspectExec(ctx, e)
	must(t, err)
	if got.ExitCode == nil || *got.ExitCode != ocierror.NotExecutable {
		t.Fatalf("exit code of what could not be begun: %v", got.ExitCode)
	}
}

func TestExecDetached(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	e, err := b.CreateExec(ctx, id, container.ExecCreateRequest{Cmd: []string{"sleep"}})
	must(t, err)
	must(t, b.StartExec(ctx, e, ExecStart{Detach: true}, Streams{}))
	p := b.exec(e)
	must(t, b.ResizeExec(ctx, e, 80, 25))
	b.runtime.finish(p, 0)
	soon(t, "its end is recorded", func() bool {
		got, err := b.InspectExec(ctx, e)
		return err == nil && got.ExitCode != nil
	})

	e, err = b.CreateExec(ctx, id, container.ExecCreateRequest{Cmd: []string{"sh"}, Tty: true, AttachStdin: true, AttachStdout: true})
	must(t, err)
	err = b.StartExec(ctx, e, ExecStart{}, Streams{Stdin: strings.NewReader("a\x10\x11"), Stdout: io.Discard})
	if !errors.Is(err, ErrDetached) {
		t.Fatal(err)
	}
	if got, err := b.InspectExec(ctx, e); err != nil || !got.Running {
		t.Fatalf("detaching ended it: %+v %v", got, err)
	}
}
