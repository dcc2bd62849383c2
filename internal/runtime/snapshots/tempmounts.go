package snapshots

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// PrepareTempMounts has the file systems that are mounted for a look into them, as for the
// users of a new container, mounted below the exec root, and takes away what a daemon
// that was killed during a look has left there.
func PrepareTempMounts(execRoot string) error {
	dir := filepath.Join(execRoot, "views")
	if err := mount.SetTempMountLocation(dir); err != nil {
		return fmt.Errorf("folder for views of file systems: %w", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("folder for views of file systems: %w", err)
	}
	var problems []error
	for _, view := range left {
		path := filepath.Join(dir, view.Name())
		if err := mount.UnmountAll(path, unix.MNT_DETACH); err != nil {
			problems = append(problems, fmt.Errorf("unmount %s: %w", path, err))
			continue
		}
		if err := os.Remove(path); err != nil { // never what is in a file system
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}
