// Package taskfiles keeps small files of tasks, secrets among them, in memory: on a tmpfs,
// from where they are mounted into containers.
//
// It promises that nothing of them comes to a disk (tmpfs may be swapped out, as
// Docker's), that nobody but root gets into the folder from the host, and that a file is
// there whole or not at all.
package taskfiles

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// Files has a folder for each task. Its methods may be called from any goroutine.
type Files struct {
	folder string
	mu     sync.Mutex // held while files are put
}

// New returns the files in a folder. It is made with the first of them.
func New(folder string) *Files { return &Files{folder: folder} }

// open makes the folder, and makes it a tmpfs unless it is on one. What is there stays.
func (f *Files) open() error {
	if err := os.MkdirAll(f.folder, 0o700); err != nil {
		return err
	}
	var at unix.Statfs_t
	if err := unix.Statfs(f.folder, &at); err != nil {
		return fmt.Errorf("file system of %s: %w", f.folder, err)
	}
	if at.Type == unix.TMPFS_MAGIC || at.Type == unix.RAMFS_MAGIC {
		return nil
	}
	if err := unix.Mount("tmpfs", f.folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("tmpfs at %s: %w", f.folder, err)
	}
	return nil
}

// Path returns where the nth file of a task is, which a container mounts.
func (f *Files) Path(task string, n int) string {
	return filepath.Join(f.folder, task, strconv.Itoa(n))
}

// Put writes the files of a task. Those that are there stay as they are: a container may
// have them. Errors: Invalid for what is no name of a task.
func (f *Files) Put(task string, files []model.TaskFile) error {
	if !named(task) {
		return model.Errorf(model.Invalid, "%q is no name of a task", task)
	}
	if len(files) == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.open(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(f.folder, task), 0o700); err != nil {
		return err
	}
	for n, one := range files {
		if err := put(f.Path(task, n), one); err != nil {
			return err
		}
	}
	return nil
}

func put(path string, one model.TaskFile) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	draft := path + ".new"
	if err := os.WriteFile(draft, one.Data, 0o600); err != nil {
		return err
	}
	if err := errors.Join(os.Chown(draft, one.UID, one.GID), os.Chmod(draft, one.Mode.Perm())); err != nil {
		return err
	}
	return os.Rename(draft, path)
}

// Drop removes the files of a task; none is success.
func (f *Files) Drop(task string) error {
	if !named(task) {
		return nil
	}
	return os.RemoveAll(filepath.Join(f.folder, task))
}

// named tells whether a text can be the name of a task's folder.
func named(task string) bool {
	return task != "." && filepath.IsLocal(task) && filepath.Base(task) == task
}
