package archive

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// one is a container, and the files of it; held counts views that are open.
type one struct {
	rec    containerrecord.Record
	pids   []int // of the views, in turn
	held   int
	said   []events.Action
	stats  []model.FileView
	answer error
	how    model.ExtractOptions
}

func (o *one) ID() model.ContainerID                                      { return "c1" }
func (o *one) Record() containerrecord.Record                             { return o.rec }
func (o *one) Say(action events.Action, _ ...string)                      { o.said = append(o.said, action) }
func (o *one) find(string) (Container, error)                             { return o, nil }
func (o *one) Export(context.Context, model.ContainerID, io.Writer) error { return o.answer }

func (o *one) View(context.Context) (model.FileView, func(), error) {
	pid := 0
	if len(o.pids) > 0 {
		pid, o.pids = o.pids[0], o.pids[1:]
	}
	o.held++
	return model.FileView{ID: "c1", Pid: pid}, func() { o.held-- }, nil
}

func (o *one) Stat(_ context.Context, v model.FileView, _ string) (model.FileStat, error) {
	o.stats = append(o.stats, v)
	if v.Pid != 0 {
		return model.FileStat{}, model.Errorf(model.NotFound, "the process has ended")
	}
	return model.FileStat{Name: "f"}, o.answer
}

func (o *one) Read(context.Context, model.FileView, string, func(model.FileStat) (io.Writer, error)) error {
	return o.answer
}

func (o *one) Write(_ context.Context, _ model.FileView, _ string, _ io.Reader, how model.ExtractOptions) error {
	o.how = how
	return o.answer
}

func (o *one) Changes(context.Context, model.ContainerID) ([]model.FileChange, error) {
	return []model.FileChange{{Path: "/a", Kind: model.FileDeleted}}, o.answer
}

// TestAProcessThatEnds: what its files were seen through is gone; they are not.
func TestAProcessThatEnds(t *testing.T) {
	o := &one{pids: []int{7}}
	got, err := New(o, o.find).Stat(t.Context(), "web", "/f")
	if err != nil || got.Name != "f" || len(o.stats) != 2 || o.held != 0 {
		t.Errorf("%+v, %v after %v, %d held", got, err, o.stats, o.held)
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	o := &one{answer: fmt.Errorf("%w: lstat /x", model.ErrNoFile), rec: containerrecord.Record{Config: &container.Config{User: "me"}}}
	a := New(o, o.find)
	const want = "Could not find the file /f in container web"
	_, err := a.Stat(t.Context(), "web", "/f")
	for _, err := range []error{err, a.Get(t.Context(), "web", "/f", nil), a.Put(t.Context(), "web", "/f", nil, PutOptions{})} {
		if model.KindOf(err) != model.NotFound || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	o.answer = model.Errorf(model.NotFound, "no layers")
	if err := a.Export(t.Context(), "web", nil); model.KindOf(err) != model.NotFound || err.Error() != "Error exporting container web: no layers" {
		t.Error(err)
	}
	if len(o.said) != 0 || o.held != 0 {
		t.Errorf("said %v, %d held", o.said, o.held)
	}
}

func TestWhatIsDoneIsSaid(t *testing.T) {
	o := &one{rec: containerrecord.Record{Config: &container.Config{User: "me"}}}
	a := New(o, o.find)
	for _, err := range []error{
		a.Get(t.Context(), "c", "/f", nil), a.Put(t.Context(), "c", "/f", nil, PutOptions{}), a.Export(t.Context(), "c", nil),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if got := fmt.Sprint(o.said); got != "[archive-path extract-to-dir export]" {
		t.Error(got)
	}
	if o.how.User != "" || o.how.Keep {
		t.Errorf("%+v", o.how)
	}
	if err := a.Put(t.Context(), "c", "/f", nil, PutOptions{NoOverwriteDirNonDir: true, CopyUIDGID: true}); err != nil || o.how.User != "me" || !o.how.Keep {
		t.Errorf("%+v, %v", o.how, err)
	}
	got, err := a.Changes(t.Context(), "c")
	if err != nil || fmt.Sprint(got) != "[{D /a}]" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWritable(t *testing.T) {
	const rootfs, volume = "container rootfs is marked read-only", "mounted volume is marked read-only"
	at := func(kind mount.Type, target string, rw, unlisted bool) containerspec.MountPoint {
		return containerspec.MountPoint{MountPoint: container.MountPoint{Type: kind, Destination: target, RW: rw}, Unlisted: unlisted}
	}
	mounts := []containerspec.MountPoint{
		at(mount.TypeVolume, "/rw", true, false), at(mount.TypeVolume, "/rw/ro", false, false),
		at(mount.TypeTmpfs, "/tmp", true, true), at(mount.TypeTmpfs, "/mem", true, false),
	}
	for _, c := range []struct {
		folder   string
		readOnly bool
		runs     bool
		want     string
	}{
		{"/", false, true, ""}, {"/", true, true, rootfs}, {"/rw", true, true, ""}, {"/rw/a", true, false, ""}, {"/rw/ro", false, true, volume},
		{"/rw/ro/a", false, false, volume}, {"/rwx", true, true, rootfs}, {"/tmp", true, true, ""}, {"/tmp/a", true, false, rootfs}, {"/mem", true, false, ""},
	} {
		rec := containerrecord.Record{Mounts: mounts, Host: &container.HostConfig{ReadonlyRootfs: c.readOnly}}
		got := ""
		if err := writable(rec, c.runs, c.folder); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
