package dockerapi

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containers/archive"
	"github.com/linkspan/linkspan/internal/containers/stats"
	"github.com/linkspan/linkspan/internal/dockerapi/system"
	"github.com/linkspan/linkspan/internal/model"
)

// fakeArchive stands for who copies files: it has one, and breaks off where it is told.
type fakeArchive struct {
	*fakeManager
	broken error // after the first bytes
	sent   string
	put    archive.PutOptions
}

var aFile = container.PathStat{Name: "f", Size: 3, Mode: fs.ModeSymlink | 0o640, Mtime: time.Unix(1, 0).UTC(), LinkTarget: "/g"}

func (a *fakeArchive) Stat(_ context.Context, ref, path string) (container.PathStat, error) {
	return aFile, a.note("stat %s %s", ref, path)
}

func (a *fakeArchive) Get(_ context.Context, ref, path string, begin func(container.PathStat) (io.Writer, error)) error {
	if err := a.note("get %s %s", ref, path); err != nil {
		return err
	}
	out, err := begin(aFile)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, strings.Repeat("x", 300_000)); err != nil {
		return err
	}
	return a.broken
}

func (a *fakeArchive) Put(_ context.Context, ref, path string, in io.Reader, o archive.PutOptions) error {
	raw, err := io.ReadAll(in)
	a.sent, a.put = string(raw), o
	return errors.Join(err, a.note("put %s %s", ref, path))
}

func (a *fakeArchive) Export(_ context.Context, ref string, out io.Writer) error {
	if err := a.note("export %s", ref); err != nil {
		return err
	}
	_, err := io.WriteString(out, "tar")
	return err
}

func (a *fakeArchive) Changes(_ context.Context, ref string) ([]container.FilesystemChange, error) {
	if ref == "same" {
		return nil, a.note("changes %s", ref)
	}
	return []container.FilesystemChange{{Kind: container.ChangeAdd, Path: "/new"}}, a.note("changes %s", ref)
}

func newArchiveBench(t *testing.T) (*bench, *fakeArchive) {
	b := newBench(t)
	a := &fakeArchive{fakeManager: b.fakeManager}
	b.with(func(o *Options) { o.Archive = a })
	return b, a
}

func TestCopyOut(t *testing.T) {
	b, a := newArchiveBench(t)
	const said = `{"name":"f","size":3,"mode":134218144,"mtime":"1970-01-01T00:00:01Z","linkTarget":"/g"}`
	for method, size := range map[string]int{"HEAD": 0, "GET": 300_000} {
		w := b.ask(method, "/containers/c/archive?path=%2Fd%2Ff", "")
		raw, err := base64.StdEncoding.DecodeString(w.Header().Get("X-Docker-Container-Path-Stat"))
		if w.Code != 200 || w.Body.Len() != size || err != nil || string(raw) != said {
			t.Errorf("%s: %d, %d bytes, %s, %v", method, w.Code, w.Body.Len(), raw, err)
		}
	}
	if got := b.noted(); !strings.Contains(got, "stat c /d/f") || !strings.Contains(got, "get c /d/f") {
		t.Error(got)
	}
	b.want(t, 400, "bad parameter: path cannot be empty", "GET", "/containers/c/archive")
	b.want(t, 400, "at most", "GET", "/containers/c/archive?path="+strings.Repeat("p", 20_000))
	b.want(t, 200, "tar", "GET", "/containers/c/export")
	b.err = model.Errorf(model.NotFound, "Could not find the file /d in container c")
	b.want(t, 404, "Could not find the file /d in container c", "GET", "/containers/c/archive?path=/d")
	b.want(t, 404, "", "HEAD", "/containers/c/archive?path=/d")
	b.want(t, 404, "Could not find", "GET", "/containers/c/export")
	b.err, a.broken = nil, errors.New("disk on fire")
	defer func() {
		if recover() == nil {
			t.Error("an archive that is not whole was ended as if it were")
		}
	}()
	b.ask("GET", "/containers/c/archive?path=/d", "")
}

func TestCopyIn(t *testing.T) {
	b, a := newArchiveBench(t)
	b.want(t, 200, "", "PUT", "/containers/c/archive?path=/d&noOverwriteDirNonDir=true&copyUIDGID=1", "tar")
	if a.sent != "tar" || !a.put.NoOverwriteDirNonDir || !a.put.CopyUIDGID {
		t.Errorf("%q, %+v", a.sent, a.put)
	}
	b.want(t, 200, "", "PUT", "/containers/c/archive?path=/d", "tar")
	if a.put != (archive.PutOptions{}) {
		t.Errorf("%+v", a.put)
	}
	b.err = model.Errorf(model.Invalid, "container rootfs is marked read-only")
	b.want(t, 400, "container rootfs is marked read-only", "PUT", "/containers/c/archive?path=/d", "tar")
}

func TestChanges(t *testing.T) {
	b, _ := newArchiveBench(t)
	b.want(t, 200, `[{"Kind":1,"Path":"/new"}]`, "GET", "/containers/c/changes")
	b.want(t, 200, "null\n", "GET", "/containers/same/changes")
}

// fakeStats stands for who tells what containers use.
type fakeStats struct{ *fakeManager }

func (s fakeStats) Read(_ context.Context, ref string, o stats.Options, send func(container.StatsResponse) error) error {
	if err := s.note("stats %s %+v", ref, o); err != nil {
		return err
	}
	return send(container.StatsResponse{ID: "c1", NumProcs: 0})
}

func TestStats(t *testing.T) {
	b := newBench(t)
	b.with(func(o *Options) { o.Stats = fakeStats{b.fakeManager} })
	for path, want := range map[string]string{
		"/containers/c/stats":                              "{Stream:true OneShot:false}",
		"/containers/c/stats?stream=0":                     "{Stream:false OneShot:false}",
		"/containers/c/stats?stream=false&one-shot=true":   "{Stream:false OneShot:true}",
		"/v1.40/containers/c/stats?stream=0&one-shot=true": "{Stream:false OneShot:false}",
	} {
		b.want(t, 200, `{"id":"c1","read":"0001-01-01T00:00:00Z","cpu_stats":{"cpu_usage":{"total_usage":0,`, "GET", path)
		if got := b.noted(); !strings.HasSuffix(got, "stats c "+want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	b.err = model.Errorf(model.NotFound, "No such container: c")
	b.want(t, 404, "No such container: c", "GET", "/containers/c/stats")
}

// TestRelease: what scripts compare is a semantic version, whatever the build is called.
func TestRelease(t *testing.T) {
	for own, want := range map[string]string{"0.1.0": "29.7.2+linkspan.0.1.0", "v1-2-gabc-dirty": "29.7.2+linkspan.v1-2-gabc-dirty", "a b/ü": "29.7.2+linkspan.a-b--"} {
		if got := (system.Info{Version: own}).Release(); got != want {
			t.Errorf("%s: %s, want %s", own, got, want)
		}
	}
}
