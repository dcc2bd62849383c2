// Package volumes makes and removes what containers mount: the directories of local
// volumes below the data root, and directories of the host where Docker makes them.
//
// It promises that users of the host cannot reach into volumes. What a mount means is
// decided by package containerspec.
package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/linkspan/linkspan/internal/containerspec"
)

// Modes of the folders of volumes. What a container's root leaves in one, such as a
// setuid program, must be out of reach of the host's users (CVE-2021-41091); the data
// root keeps them out too, but its mode is at times opened by hand. Containers need no
// way through the folders above: theirs is a mount of the data itself.
const (
	volumesMode = 0o700
	volumeMode  = 0o701
	dataMode    = 0o755 // as containers see it
)

// Store is all volumes below one data root.
type Store struct {
	Root string // of the daemon's data
}

// data is the directory of a volume's data. The name has been checked.
func (s Store) data(name string) string { return filepath.Join(s.Root, "volumes", name, "_data") }

// make makes the folders of a volume below the data root, unless they are there,
// and closes them to users of the host, also where an earlier release had left them
// open. The mode of the data is the containers' own.
func (s Store) make(name string) error {
	all := filepath.Join(s.Root, "volumes")
	for _, folder := range []struct {
		path string
		mode fs.FileMode
	}{{all, volumesMode}, {filepath.Join(all, name), volumeMode}} {
		if err := os.Mkdir(folder.path, folder.mode); err != nil && !os.IsExist(err) {
			return fmt.Errorf("volume %s: %w", name, err)
		}
		if err := os.Chmod(folder.path, folder.mode); err != nil {
			return fmt.Errorf("volume %s: %w", name, err)
		}
	}
	if err := os.Mkdir(filepath.Join(all, name, "_data"), dataMode); err != nil && !os.IsExist(err) {
		return fmt.Errorf("volume %s: %w", name, err)
	}
	return nil
}

// Close closes the folder of all volumes, which an earlier release has left
// open, before any container is looked at.
func (s Store) Close() error {
	err := os.Chmod(filepath.Join(s.Root, "volumes"), volumesMode)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("close the folder of volumes: %w", err)
	}
	return nil
}

// Remove deletes the anonymous volumes among a container's mounts.
func (s Store) Remove(mounts []containerspec.MountPoint) error {
	var errs []error
	for _, p := range mounts {
		if p.Anonymous {
			errs = append(errs, os.RemoveAll(filepath.Dir(s.data(p.Name))))
		}
	}
	return errors.Join(errs...)
}
