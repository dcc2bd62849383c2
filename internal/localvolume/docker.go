package localvolume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/linkspan/linkspan/internal/model"
)

// What Docker keeps of its local volumes, beside the same folders as ours.
const (
	dockerOptions = "opts.json"   // in the folder of a volume that has options
	dockerLabels  = "metadata.db" // in the folder of all volumes
)

// dockerOpts is what Docker's opts.json says.
type dockerOpts struct {
	MountType, MountOpts, MountDevice string
}

// adopt makes the folder of a volume that has no file of ours a volume, with what Docker
// left of its options and labels. Not-exist if it is no volume.
func (s *Store) adopt(name string, labels *labelReader) (model.Volume, error) {
	v, err := readDocker(s.dir, name, labels)
	if err != nil {
		return v, err
	}
	if err := os.Chmod(s.of(name), volumeMode); err != nil {
		return v, err
	}
	v.Mountpoint = s.data(name)
	return v, writeAbout(s.of(name), v)
}

// readDocker returns what is known of a volume in Docker's folder of volumes.
func readDocker(dir, name string, labels *labelReader) (model.Volume, error) {
	v := model.Volume{Name: name, Driver: "local", Mountpoint: filepath.Join(dir, name, dataFolder)}
	info, err := os.Lstat(v.Mountpoint)
	if err != nil {
		return v, err
	}
	if !info.IsDir() {
		return v, fmt.Errorf("%s is no folder", v.Mountpoint)
	}
	folder, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return v, err
	}
	v.Created = folder.ModTime().UTC().Truncate(time.Second)
	var o dockerOpts
	err = readJSON(filepath.Join(dir, name, dockerOptions), &o)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return v, err
	}
	if o != (dockerOpts{}) {
		v.Options = map[string]string{"type": o.MountType, "o": o.MountOpts, "device": o.MountDevice}
	}
	meta, err := labels.of(dir, name)
	if err != nil {
		return v, err
	}
	v.Labels = meta.Labels
	if len(meta.Options) > 0 {
		v.Options = meta.Options // as the user wrote them
	}
	return v, nil
}

// dockerMeta is what Docker's metadata.db says of a volume.
type dockerMeta struct {
	Driver          string
	Labels, Options map[string]string
}

// labelReader reads Docker's metadata.db, once. The zero value is ready.
type labelReader struct {
	read bool
	all  map[string]dockerMeta
	err  error
}

// of returns what the file says of a volume; nothing if there is no file.
func (l *labelReader) of(dir, name string) (dockerMeta, error) {
	if !l.read {
		l.read = true
		l.all, l.err = readMeta(filepath.Join(dir, dockerLabels))
	}
	return l.all[name], l.err
}

// readMeta reads the bucket "volumes" of Docker's database.
func readMeta(path string) (map[string]dockerMeta, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true, Timeout: 2 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("labels of Docker's volumes: %s: %w (does dockerd run?)", path, err)
	}
	defer db.Close() //nolint:errcheck // nothing was written
	out := map[string]dockerMeta{}
	err = db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("volumes"))
		if b == nil {
			return nil
		}
		return b.ForEach(func(name, raw []byte) error {
			var m dockerMeta
			if err := json.Unmarshal(raw, &m); err != nil {
				return fmt.Errorf("%s: volume %q: %w", path, name, err)
			}
			out[string(name)] = m
			return nil
		})
	})
	return out, err
}
