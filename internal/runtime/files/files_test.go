package files

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/go-archive"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// scene is a container's tree beside a folder of the host.
type scene struct {
	*Store
	root, host string
	mounts     []model.Mount
}

func newScene(t *testing.T) *scene {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := &scene{&Store{place: t.TempDir(), log: slog.New(slog.DiscardHandler)}, t.TempDir(), t.TempDir(), nil}
	put(t, filepath.Join(s.host, "secret"), "secret")
	return s
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// in runs do in the container's tree.
func (s *scene) in(t *testing.T, do func() error) error {
	t.Helper()
	view := &stopped{place: s.place}
	var err error
	if view.root, err = cloneTree(s.root); err != nil {
		t.Fatal(err)
	}
	if err := disarm(int(view.root.Fd()), "", false); err != nil {
		t.Fatal(err)
	}
	for _, m := range s.mounts {
		if err := view.add(m); err != nil {
			t.Fatal(err)
		}
	}
	return s.run(t.Context(), "c1", view, do)
}

// untouched fails the test unless the host's folder is as it was.
func (s *scene) untouched(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(s.host)
	if text, _ := os.ReadFile(filepath.Join(s.host, "secret")); err != nil || len(entries) != 1 || string(text) != "secret" {
		t.Errorf("the host's folder: %v, %q, %v", entries, text, err)
	}
}

// TestTheHostHasNoPath: links out of the tree, and mounts at such links, stay in it.
func TestTheHostHasNoPath(t *testing.T) {
	s := newScene(t)
	link(t, s.host, filepath.Join(s.root, "out"))
	link(t, strings.Repeat("../", 20)+s.host, filepath.Join(s.root, "climb"))
	volume := t.TempDir()
	put(t, filepath.Join(volume, "v"), "volume")
	s.mounts = []model.Mount{
		{Type: "bind", Source: volume, Target: "/a/b/data"},
		{Type: "bind", Source: filepath.Join(volume, "v"), Target: "/etc/one", ReadOnly: true},
	}
	if err := os.MkdirAll(filepath.Join(s.root, s.host), 0o755); err != nil { // what the links lead to, within
		t.Fatal(err)
	}
	err := s.in(t, func() error {
		for _, name := range []string{"/out/secret", "/climb/secret", s.host + "/secret"} {
			if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if text, err := os.ReadFile("/a/b/data/v"); string(text) != "volume" {
			t.Errorf("the volume: %q, %v", text, err)
		}
		if err := os.WriteFile("/etc/one", nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("what is mounted read-only: %v", err)
		}
		if err := unix.Mknod("/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			return err
		}
		if _, err := os.Open("/null"); !errors.Is(err, unix.EACCES) {
			t.Errorf("a device node: %v", err)
		}
		_, err := folderAt("out")
		return err
	})
	if err != nil {
		t.Error(err)
	}
	s.untouched(t)
	if _, err := os.Stat(filepath.Join(s.root, "a", "b", "data")); err != nil {
		t.Errorf("the place of the volume: %v", err)
	}
}

func TestStat(t *testing.T) {
	s := newScene(t)
	put(t, filepath.Join(s.root, "d", "f"), "1234")
	link(t, "/d/f", filepath.Join(s.root, "l"))
	link(t, "../../../nowhere/x", filepath.Join(s.root, "dangling"))
	link(t, "d", filepath.Join(s.root, "ld"))
	link(t, "round", filepath.Join(s.root, "round"))
	for _, c := range []struct{ path, want string }{
		{"/d/f", "f 4 -rw-r----- "}, {"d/f", "f 4 -rw-r----- "}, {"/d/../d/f", "f 4 -rw-r----- "},
		{"/l", "l 4 Lrwxrwxrwx /d/f"}, {"/dangling", "dangling 18 Lrwxrwxrwx /nowhere/x"},
		{"/d/f/", "not a directory"}, {"/nothing", "no such file or directory"}, {"/round", "too many links"},
	} {
		var got string
		err := s.in(t, func() error {
			st, err := stat(absolute(c.path))
			got = fmt.Sprintf("%s %d %v %s", st.Name, st.Size, st.Mode, st.LinkTarget)
			return err
		})
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
		if c.path == "/nothing" != errors.Is(err, model.ErrNoFile) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
	for path, want := range map[string]os.FileMode{"/ld": os.ModeSymlink, "/ld/": os.ModeDir, "/ld/.": os.ModeDir, "/": os.ModeDir, ".": os.ModeDir, "": os.ModeDir} {
		err := s.in(t, func() error {
			st, err := stat(absolute(path))
			if st.Mode.Type() != want {
				t.Errorf("%q: %v", path, st.Mode)
			}
			return err
		})
		if err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
}

// names lists an archive: name, or name>target, with a letter for the kind.
func names(t *testing.T, raw []byte) string {
	t.Helper()
	var out []string
	r := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		one := string(h.Typeflag) + ":" + h.Name
		if h.Linkname != "" {
			one += ">" + h.Linkname
		}
		out = append(out, one)
	}
}

func TestRead(t *testing.T) {
	s := newScene(t)
	put(t, filepath.Join(s.root, "d", "old", "map"), "map")
	put(t, filepath.Join(s.root, "d", "two"), "2")
	if err := os.Link(filepath.Join(s.root, "d", "two"), filepath.Join(s.root, "d", "twin")); err != nil {
		t.Fatal(err)
	}
	link(t, "/d/old/map", filepath.Join(s.root, "d", "l"))
	if err := unix.Mkfifo(filepath.Join(s.root, "d", "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	link(t, "d", filepath.Join(s.root, "ld"))
	all := " 2:X/l>/d/old/map 5:X/old/ 0:X/old/map 6:X/pipe 0:X/twin 1:X/two>X/twin"
	for path, want := range map[string]string{
		"/d": "5:d/" + strings.ReplaceAll(all, "X", "d"), "/d/.": "5:./" + strings.ReplaceAll(all, "X", "."),
		"/ld": "2:ld>d", "/ld/": "5:ld/" + strings.ReplaceAll(all, "X", "ld"), "/d/old/map": "0:map", "/d/l": "2:l>/d/old/map", "/d/pipe": "6:pipe",
	} {
		var out bytes.Buffer
		err := s.in(t, func() error {
			found, err := stat(absolute(path))
			if err != nil {
				return err
			}
			return read(t.Context(), &out, absolute(path), found)
		})
		if got := names(t, out.Bytes()); err != nil || got != want {
			t.Errorf("%s:\n%s, %v; want\n%s", path, got, err, want)
		}
	}
	var out bytes.Buffer
	if err := s.in(t, func() error { return newArchiver(t.Context(), &out).tree("/", "", false) }); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, out.Bytes()), "5:d/"+strings.ReplaceAll(all, "X", "d")+" 2:ld>d"; got != want {
		t.Errorf("exported: %s", got)
	}
}

// TestAFileShrinks: what is missing is zeros, so that the rest of the archive is good.
func TestAFileShrinks(t *testing.T) {
	var out bytes.Buffer
	if err := fill(&out, strings.NewReader("abc"), 5); err != nil || out.String() != "abc\x00\x00" {
		t.Errorf("%q, %v", out.String(), err)
	}
	out.Reset()
	if err := fill(&out, strings.NewReader("abcdef"), 5); err != nil || out.String() != "abcde" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// TestNobodyWaitsForAContainer: a file system that does not answer holds up the client only
// as long as he wants.
func TestNobodyWaitsForAContainer(t *testing.T) {
	s := newScene(t)
	view := &stopped{place: s.place}
	var err error
	if view.root, err = cloneTree(s.root); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	held := make(chan struct{})
	defer close(held)
	if err := s.run(ctx, "c1", view, func() error { <-held; return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// hostile are archives that want out.
func hostile(host string) map[string][]tar.Header {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	return map[string][]tar.Header{
		"absolute": {file(host + "/in")},
		"climbs":   {file("../../../../../../../../" + host + "/in")},
		"link first": {{Name: "door", Typeflag: tar.TypeSymlink, Linkname: host}, file("door/in"),
			{Name: "door/sub", Typeflag: tar.TypeDir, Mode: 0o755}},
		"relative link": {{Name: "door", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("../", 20) + host}, file("door/in")},
		"hard link":     {{Name: "twin", Typeflag: tar.TypeLink, Linkname: host + "/secret"}, file("twin")},
		"mode of a link": {{Name: "secret", Typeflag: tar.TypeSymlink, Linkname: host + "/secret"},
			{Name: "secret", Typeflag: tar.TypeReg, Mode: 0o777}},
		"negative": {{Name: "n", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "n/../../../in", Typeflag: tar.TypeReg}},
	}
}

func TestUnpackHostileArchives(t *testing.T) {
	for name, entries := range hostile("/host") {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			for i := range entries {
				entries[i].Name = strings.ReplaceAll(entries[i].Name, "/host", s.host)
				entries[i].Linkname = strings.ReplaceAll(entries[i].Linkname, "/host", s.host)
			}
			var raw bytes.Buffer
			w := tar.NewWriter(&raw)
			for _, h := range entries {
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			err := s.in(t, func() error { return unpack(&raw, "/", &archive.TarOptions{}) })
			t.Log(err)
			s.untouched(t)
		})
	}
}

func TestUnpack(t *testing.T) {
	s := newScene(t)
	put(t, filepath.Join(s.root, "f"), "file")
	if err := os.Mkdir(filepath.Join(s.root, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	one := func(h tar.Header) io.Reader {
		var raw bytes.Buffer
		w := tar.NewWriter(&raw)
		if err := errors.Join(w.WriteHeader(&h), w.Close()); err != nil {
			t.Fatal(err)
		}
		return &raw
	}
	for _, c := range []struct {
		h    tar.Header
		want string
	}{
		{tar.Header{Name: "d", Typeflag: tar.TypeReg}, `cannot overwrite directory "d" with non-directory "/"`},
		{tar.Header{Name: "f", Typeflag: tar.TypeDir}, `cannot overwrite non-directory "f" with directory "/"`},
	} {
		err := s.in(t, func() error { return unpack(one(c.h), "/", &archive.TarOptions{NoOverwriteDirNonDir: true}) })
		if err == nil || err.Error() != c.want || model.KindOf(err) != model.Unfit {
			t.Errorf("%v, want %s", err, c.want)
		}
		if err := s.in(t, func() error { return unpack(one(c.h), "/", &archive.TarOptions{}) }); err != nil {
			t.Error(err)
		}
	}
	if err := s.in(t, func() error { _, err := folderAt("/d"); return err }); model.KindOf(err) != model.Invalid || err.Error() != "extraction point is not a directory" {
		t.Errorf("a file: %v", err)
	}
	if err := s.in(t, func() error { _, err := folderAt("/no/such"); return err }); !errors.Is(err, model.ErrNoFile) {
		t.Errorf("nothing: %v", err)
	}
}

// FuzzUnpack: no archive changes what is outside the tree, or ends the daemon.
func FuzzUnpack(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root")
	}
	for _, entries := range hostile("/tmp/host") {
		var raw bytes.Buffer
		w := tar.NewWriter(&raw)
		for _, h := range entries {
			_ = w.WriteHeader(&h) // what cannot be written is no seed
		}
		_ = w.Close()
		f.Add(raw.Bytes())
	}
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0})
	f.Add([]byte("BZh91AY"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := newScene(t)
		plain, err := decompress(bytes.NewReader(raw))
		if err != nil {
			return
		}
		defer plain.Close()
		few := io.LimitReader(plain, 1<<20)
		_ = s.in(t, func() error { return unpack(few, "/", &archive.TarOptions{}) })
		s.untouched(t)
	})
}
