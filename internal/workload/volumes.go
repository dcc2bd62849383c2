package workload

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// makeVolume makes the folders of a volume below the data root, unless they are there,
// and closes them to users of the host, also where an earlier release had left them
// open. The mode of the data is the containers' own.
func makeVolume(root, name string) error {
	all := filepath.Join(root, "volumes")
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

// closeVolumes closes the folder of all volumes, which an earlier release has left
// open, before any container is looked at.
func closeVolumes(root string) error {
	err := os.Chmod(filepath.Join(root, "volumes"), volumesMode)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("close the folder of volumes: %w", err)
	}
	return nil
}
