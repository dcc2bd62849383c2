package localvolume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/foldercopy"
	"github.com/linkspan/linkspan/internal/model"
)

// Docker returns the local volumes of a Docker data root, as they are there: Mountpoint is
// where their data lies now. Errors: NotFound if it has no volumes; what stands in it and
// cannot be read.
func (s *Store) Docker(root string) ([]model.Volume, error) {
	dir := filepath.Join(root, "volumes")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, model.Errorf(model.NotFound, "%s has no folder of volumes: is it the data root of a Docker daemon?", root)
	}
	if err != nil {
		return nil, err
	}
	var out []model.Volume
	var labels labelReader
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		v, err := readDocker(dir, e.Name(), &labels)
		if errors.Is(err, fs.ErrNotExist) { // no volume
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", e.Name(), err)
		}
		if meta := labels.all[v.Name]; meta.Driver != "" && meta.Driver != v.Driver {
			continue // a plugin's, whose data is elsewhere
		}
		out = append(out, v)
	}
	return out, nil
}

// Copy makes a volume as Docker has it at v.Mountpoint, with its data, whole or not at all.
// What somebody changes there meanwhile may come along or not, but leads nowhere else.
func (s *Store) Copy(v model.Volume) (model.Volume, error) {
	source, err := os.OpenFile(v.Mountpoint, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return v, err
	}
	defer source.Close()
	return s.make(v, func(data string) error {
		target, err := os.Open(data)
		if err != nil {
			return err
		}
		defer target.Close()
		return foldercopy.Copy(source, target)
	})
}
