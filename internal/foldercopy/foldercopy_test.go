package foldercopy

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func copyDir(t *testing.T, source, target string) error {
	t.Helper()
	a, err := os.Open(source)
	must(t, err)
	defer a.Close()
	b, err := os.Open(target)
	must(t, err)
	defer b.Close()
	return Copy(a, b)
}

// TestCopy: all kinds of files come along as they are.
func TestCopy(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	source, target := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(source, "sub/deep"), 0o755))
	must(t, os.WriteFile(filepath.Join(source, "sub/file"), []byte("sea"), 0o600))
	must(t, os.Lchown(filepath.Join(source, "sub/file"), 1234, 2345))
	must(t, syscall.Chmod(filepath.Join(source, "sub/file"), 0o4640))
	must(t, os.Link(filepath.Join(source, "sub/file"), filepath.Join(source, "again")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(source, "link")))
	must(t, unix.Mkfifo(filepath.Join(source, "fifo"), 0o600))
	must(t, unix.Mknod(filepath.Join(source, "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	must(t, unix.Lsetxattr(filepath.Join(source, "sub/file"), "trusted.note", []byte("x"), 0))
	must(t, os.Chown(source, 7, 8))
	must(t, syscall.Chmod(source, 0o1750))
	must(t, copyDir(t, source, target))
	stat := func(name string) (st syscall.Stat_t) {
		must(t, syscall.Lstat(filepath.Join(target, name), &st))
		return st
	}
	if st := stat("."); st.Uid != 7 || st.Gid != 8 || st.Mode&0o7777 != 0o1750 {
		t.Errorf("folder %d:%d %o", st.Uid, st.Gid, st.Mode)
	}
	if st := stat("sub/file"); st.Uid != 1234 || st.Gid != 2345 || st.Mode&0o7777 != 0o4640 || st.Ino != stat("again").Ino {
		t.Errorf("file %+v", st)
	}
	if text, err := os.ReadFile(filepath.Join(target, "again")); err != nil || string(text) != "sea" {
		t.Errorf("%q, %v", text, err)
	}
	if to, err := os.Readlink(filepath.Join(target, "link")); err != nil || to != "/etc/passwd" {
		t.Errorf("%q, %v", to, err)
	}
	if st := stat("null"); st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("device %x", st.Rdev)
	}
	if st := stat("fifo"); st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		t.Errorf("fifo %o", st.Mode)
	}
	value := make([]byte, 8)
	if n, err := unix.Lgetxattr(filepath.Join(target, "sub/file"), "trusted.note", value); err != nil || string(value[:n]) != "x" {
		t.Errorf("attribute %q, %v", value[:max(n, 0)], err)
	}
	if _, err := os.Stat("/proc/self/mountinfo"); err != nil {
		t.Errorf("the process has lost its file system: %v", err)
	}
}

// TestLinksLeadNowhere: who changes the target while it is copied into leads nothing out.
func TestLinksLeadNowhere(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	source, target, host := t.TempDir(), t.TempDir(), t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		must(t, os.MkdirAll(filepath.Join(source, name), 0o755))
		for _, file := range []string{"1", "2", "3"} {
			must(t, os.WriteFile(filepath.Join(source, name, file), []byte("evil"), 0o600))
		}
	}
	stop := make(chan struct{})
	var stranger sync.WaitGroup
	stranger.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, name := range []string{"a", "b", "c"} {
				at := filepath.Join(target, name)
				os.RemoveAll(at)
				_ = os.Symlink(host, at)
				os.Remove(at)
			}
		}
	})
	for range 200 {
		_ = copyDir(t, source, target) // it may fail: its target is pulled from under it
	}
	close(stop)
	stranger.Wait()
	if left, err := os.ReadDir(host); err != nil || len(left) != 0 {
		t.Errorf("the host's folder has %v, %v", left, err)
	}
}
