package netns_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/model"
)

func closeFile(f *os.File) error { return f.Close() }

// open returns a directory on a host of the test's own.
func open(t *testing.T) (*netns.Dir, kerneltest.Host) {
	t.Helper()
	host := kerneltest.New(t)
	return host.Namespaces(t), host
}

// here is the identity of the calling thread's namespace.
func here(t *testing.T) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		t.Error(err)
	}
	return st.Ino
}

func inside(t *testing.T, d *netns.Dir, name string) (ino uint64) {
	t.Helper()
	if err := d.Do(t.Context(), name, func() error { ino = here(t); return nil }); err != nil {
		t.Error(err)
	}
	return ino
}

func TestCreateAndDelete(t *testing.T) {
	d, host := open(t)
	var made uint64
	err := d.Create(t.Context(), "a", func(f *os.File) error {
		made = here(t)
		return f.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := inside(t, d, "a"); got != made || got == inside(t, d, "") || inside(t, d, "") == here(t) {
		t.Errorf("in namespace %d, made %d, host %d, test %d", got, made, inside(t, d, ""), here(t))
	}
	if err := d.Create(t.Context(), "a", closeFile); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	for range 2 {
		if err := d.Delete("a"); err != nil {
			t.Error(err)
		}
	}
	if names, err := d.List(); err != nil || len(names) != 0 {
		t.Errorf("list after delete: %v, %v", names, err)
	}
	if _, err := d.Open("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open after delete: %v", err)
	}
	// The name can be had again at once.
	if err := d.Create(t.Context(), "a", closeFile); err != nil {
		t.Error(err)
	}
	if inside(t, d, "a") == made {
		t.Error("the same namespace came back")
	}
	if err := os.WriteFile(filepath.Join(host.Dir, "plain"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err := d.List(); err != nil || len(names) != 1 || names[0] != "a" {
		t.Errorf("list: %v, %v", names, err)
	}
}

// TestFailedSetUp leaves no name behind.
func TestFailedSetUp(t *testing.T) {
	d, host := open(t)
	broken := errors.New("broken")
	err := d.Create(t.Context(), "a", func(f *os.File) error { return errors.Join(f.Close(), broken) })
	if !errors.Is(err, broken) {
		t.Errorf("create: %v", err)
	}
	if entries, err := os.ReadDir(host.Dir); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// TestLeftoverFile: a reboot or a crash leaves an empty file where a namespace
// was mounted.
func TestLeftoverFile(t *testing.T) {
	d, host := open(t)
	if err := os.WriteFile(filepath.Join(host.Dir, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Create(t.Context(), "a", closeFile); err != nil {
		t.Error(err)
	}
}

func TestNamesStayInside(t *testing.T) {
	d, _ := open(t)
	for _, name := range []string{".", "..", "../a", "a/b", "/etc/passwd", "a/", "\xff"} {
		for verb, err := range map[string]error{
			"create": d.Create(t.Context(), name, closeFile),
			"delete": d.Delete(name),
			"do":     d.Do(t.Context(), name, func() error { return nil }),
		} {
			if model.KindOf(err) != model.Invalid {
				t.Errorf("%s %q: %v", verb, name, err)
			}
		}
	}
}

// TestManyAtOnce has threads come and go; each finds itself where it should be
// and none stays away.
func TestManyAtOnce(t *testing.T) {
	d, _ := open(t)
	names := []string{"a", "b", "c"}
	want := map[string]uint64{"": inside(t, d, "")}
	for _, name := range names {
		if err := d.Create(t.Context(), name, closeFile); err != nil {
			t.Fatal(err)
		}
		want[name] = inside(t, d, name)
	}
	home := here(t)
	var all sync.WaitGroup
	for range 50 {
		for name, ino := range want {
			all.Go(func() {
				if got := inside(t, d, name); got != ino {
					t.Errorf("in %q: namespace %d instead of %d", name, got, ino)
				}
				if got := here(t); got != home {
					t.Errorf("back in namespace %d instead of %d", got, home)
				}
			})
		}
	}
	all.Wait()
}

// TestWaitForAPlace: the wait is the caller's to bound.
func TestWaitForAPlace(t *testing.T) {
	d, _ := open(t)
	release := make(chan struct{})
	var all, arrived sync.WaitGroup
	for range netns.MaxInside {
		arrived.Add(1)
		all.Go(func() {
			d.Do(t.Context(), "", func() error { arrived.Done(); <-release; return nil })
		})
	}
	arrived.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Do(ctx, "", func() error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got in: %v", err)
	}
	close(release)
	all.Wait()
}

// TestAtHome: where the process is anyway nobody travels, not even from another
// namespace, and nobody waits for those who do.
func TestAtHome(t *testing.T) {
	host := kerneltest.New(t)
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d := netns.New(netns.Options{Dir: host.Dir, Host: file, Instance: "test", Logger: slog.New(slog.DiscardHandler)})
	defer d.Close()
	if err := d.Create(t.Context(), "a", closeFile); err != nil {
		t.Fatal(err)
	}
	home := here(t)
	release := make(chan struct{})
	var all, arrived sync.WaitGroup
	for range netns.MaxInside {
		arrived.Add(1)
		all.Go(func() {
			d.Do(t.Context(), "a", func() error {
				if got := inside(t, d, ""); got != home || here(t) == home {
					t.Errorf("from a visit: namespace %d, want %d; the visitor is in %d", got, home, here(t))
				}
				arrived.Done()
				<-release
				return nil
			})
		})
	}
	arrived.Wait()
	if got := inside(t, d, ""); got != home {
		t.Errorf("namespace %d, want %d", got, home)
	}
	close(release)
	all.Wait()
	if err := d.Delete("a"); err != nil {
		t.Error(err)
	}
}

// TestHusks: only files of this instance, with nothing on them, are husks.
func TestHusks(t *testing.T) {
	host := kerneltest.New(t)
	d := instance(t, host, "one")
	other := instance(t, host, "two")
	for name, text := range map[string]string{"nobodys": "", "twos": "linkspan:two\n", "ours": "linkspan:one\n"} {
		if err := os.WriteFile(filepath.Join(host.Dir, name), []byte(text), 0o100); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(host.Dir, "note"), []byte("linkspan:one\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink("ours", filepath.Join(host.Dir, "link")), unix.Mkfifo(filepath.Join(host.Dir, "fifo"), 0o100)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Create(t.Context(), "alive", closeFile), other.Create(t.Context(), "theirs", closeFile)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alive", "theirs"} { // as by umount: the files stay
		if err := unix.Unmount(filepath.Join(host.Dir, name), unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[*netns.Dir]string{d: "[alive ours]", other: "[theirs twos]"} {
		got := dir.Husks()
		slices.Sort(got)
		if fmt.Sprint(got) != want {
			t.Errorf("husks %q, want %s", got, want)
		}
	}
	// What is not ours survives removal by name.
	if err := errors.Join(d.Delete("twos"), d.Delete("note"), d.Delete("nobodys"), d.Delete("ours"), d.Delete("alive")); err != nil {
		t.Error(err)
	}
	d.Close()
	left, err := filepath.Glob(filepath.Join(host.Dir, "*"))
	if err != nil || len(left) != 6 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// instance opens the directory of a host for an engine. Close may be called before
// the test ends.
func instance(t *testing.T, host kerneltest.Host, name string) *netns.Dir {
	t.Helper()
	file, err := os.Open(host.Netns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return netns.New(netns.Options{Dir: host.Dir, Host: file, Instance: name, Logger: slog.New(slog.DiscardHandler)})
}

// TestOldHusk: releases before the mark mounted on empty files, which go with what
// is mounted on them.
func TestOldHusk(t *testing.T) {
	host := kerneltest.New(t)
	d := instance(t, host, "one")
	path := filepath.Join(host.Dir, "old")
	if err := errors.Join(os.WriteFile(path, nil, 0o100), d.Create(t.Context(), "old", closeFile), d.Delete("old")); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
}

// TestNameGivenBack: the name is taken from a namespace in which a process lives,
// and Bind gives it back.
func TestNameGivenBack(t *testing.T) {
	d, host := open(t)
	if err := d.Create(t.Context(), "a", closeFile); err != nil {
		t.Fatal(err)
	}
	home := inside(t, d, "a")
	sleeper := exec.Command("sleep", "1000")
	if err := d.Do(t.Context(), "a", sleeper.Start); err != nil {
		t.Fatal(err)
	}
	p, err := netns.Identify(sleeper.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(host.Dir, "a")
	for what, spoil := range map[string]func() error{
		"unmounted": func() error { return unix.Unmount(path, unix.MNT_DETACH) },
		"deleted": func() error {
			for unix.Unmount(path, unix.MNT_DETACH) == nil { // however many lie on one another by now
			}
			return os.Remove(path)
		},
		"led away": func() error { return unix.Mount(host.Netns, path, "none", unix.MS_BIND, "") },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		file, err := netns.Inside(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Bind(t.Context(), "a", file), file.Close()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := inside(t, d, "a"); got != home {
			t.Errorf("%s: the name leads to %d instead of %d", what, got, home)
		}
	}
	// Another process of that number is another process.
	if _, err := netns.Inside(netns.Process{PID: p.PID, Started: p.Started + 1}); !errors.Is(err, unix.ESRCH) {
		t.Errorf("a process that began at another time: %v", err)
	}
	if err := sleeper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = sleeper.Wait() // killed, as was meant
	if file, err := netns.Inside(p); err == nil {
		t.Error("a process that has ended has a namespace", file.Close())
	}
	if err := d.Delete("a"); err != nil {
		t.Error(err)
	}
}

// TestNameOfAnother: a name that somebody has led to the host's own namespace leads nobody there.
func TestNameOfAnother(t *testing.T) {
	d, _ := open(t)
	if err := d.Create(t.Context(), "a", closeFile); err != nil {
		t.Fatal(err)
	}
	file, err := d.Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	path := d.Path("b")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), path, "none", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	visited := false
	err = d.Do(t.Context(), "b", func() error { visited = true; return nil })
	if err == nil || visited || !strings.Contains(err.Error(), "leads to the host's own") {
		t.Errorf("visited: %v; %v", visited, err)
	}
	if inside(t, d, "a") == inside(t, d, "") {
		t.Error("a namespace of its own is the host's")
	}
	if err := errors.Join(unix.Unmount(path, 0), os.Remove(path), d.Delete("a")); err != nil {
		t.Error(err)
	}
}
