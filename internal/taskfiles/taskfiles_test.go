package taskfiles

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// onMemory returns a folder on a tmpfs, where nothing has to be mounted.
func onMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "linkspan-test-")
	if err != nil {
		t.Skipf("no tmpfs to write to: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestFiles(t *testing.T) {
	root := onMemory(t)
	f := New(filepath.Join(root, "tasks"))
	if err := f.Put("none", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "tasks")); err == nil {
		t.Error("there is a folder, and nothing to keep")
	}
	me, group := os.Getuid(), os.Getgid()
	one := []model.TaskFile{{Data: []byte("hush"), UID: me, GID: group, Mode: 0o440}, {Data: []byte("page"), UID: me, GID: group, Mode: 0o777}}
	if err := f.Put("t1", one); err != nil {
		t.Fatal(err)
	}
	for n, want := range one {
		got, err := os.ReadFile(f.Path("t1", n))
		info, _ := os.Stat(f.Path("t1", n))
		if err != nil || string(got) != string(want.Data) || info.Mode().Perm() != want.Mode {
			t.Errorf("%d: %q, %v, %v", n, got, info.Mode(), err)
		}
	}
	if info, _ := os.Stat(filepath.Join(root, "tasks")); info.Mode().Perm() != 0o700 {
		t.Errorf("others get in: %v", info.Mode())
	}
	// A container may have the file: it is not put anew.
	if err := f.Put("t1", []model.TaskFile{{Data: []byte("other"), UID: me, GID: group}}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(f.Path("t1", 0)); string(got) != "hush" {
		t.Errorf("the file has become %q", got)
	}
	for range 2 {
		if err := f.Drop("t1"); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(root, "tasks")); len(left) != 0 {
		t.Errorf("%v stays", left)
	}
}

// TestNamesLeadNowhereElse: a task is one folder, whatever it is called.
func TestNamesLeadNowhereElse(t *testing.T) {
	root := onMemory(t)
	f := New(filepath.Join(root, "tasks"))
	kept := filepath.Join(root, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "../kept", "a/b", "/etc"} {
		if err := f.Put(name, []model.TaskFile{{}}); model.KindOf(err) != model.Invalid {
			t.Errorf("%q is taken: %v", name, err)
		}
		if err := f.Drop(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}
