package localvolume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// Modes of the folders of volumes. What a container's root leaves in one, such as a
// setuid program, must be out of reach of the host's users (CVE-2021-41091); the data
// root keeps them out too, but its mode is at times opened by hand. Containers need no
// way through the folders above: theirs is a mount of the data itself.
const (
	rootMode    = 0o710
	volumesMode = 0o700
	volumeMode  = 0o701
	dataMode    = 0o755 // as containers see it
	fileMode    = 0o600
)

const (
	aboutFile  = "volume.json"
	dataFolder = "_data"

	// newPrefix and oldPrefix begin the names of folders that are no volumes: no
	// volume's name begins with a dot.
	newPrefix = ".new-"
	oldPrefix = ".old-"

	// maxAbout bounds what is read of a volume's file, in bytes.
	maxAbout = 4 << 20
)

// Store is the volumes below one data root. Its methods may be called from any goroutine;
// whoever calls two at once for one volume may get either's result.
type Store struct {
	dir   string // of all volumes
	parts string // below which parts of volumes are mounted
	log   *slog.Logger
	olds  atomic.Uint64
}

// about is what the file of a volume says.
type about struct {
	Driver  string
	Created time.Time
	Labels  map[string]string
	Options map[string]string
}

// Open returns the volumes below a data root. The folder of all volumes is made, and
// closed where an earlier release had left it open; what a daemon that was killed was
// making or removing goes. Parts of volumes are mounted below execRoot.
func Open(root, execRoot string, log *slog.Logger) (*Store, error) {
	s := &Store{dir: filepath.Join(root, "volumes"), parts: filepath.Join(execRoot, "volume-parts"), log: log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(root, rootMode); err != nil {
		return nil, fmt.Errorf("data root: %w", err)
	}
	if err := makeFolder(s.dir, volumesMode); err != nil {
		return nil, fmt.Errorf("folder of volumes: %w", err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("folder of volumes: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), oldPrefix) {
			if err := s.erase(filepath.Join(s.dir, e.Name())); err != nil {
				s.log.Warn("half a volume stays", "op", "volume.open", "path", e.Name(), "err", err)
			}
		}
	}
	return s, nil
}

// makeFolder makes a folder unless it is there, and sets its mode in any case.
func makeFolder(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(path, mode)
}

// of returns the folder of a volume. Its name has been checked.
func (s *Store) of(name string) string { return filepath.Join(s.dir, name) }

// data returns where a volume's data lies.
func (s *Store) data(name string) string { return filepath.Join(s.of(name), dataFolder) }

// List returns all volumes. A folder without a file of ours, as an earlier release, a
// copy by hand, or Docker leaves it, is a volume too: see adopt. What cannot be read is
// logged and left out.
func (s *Store) List() ([]model.Volume, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("folder of volumes: %w", err)
	}
	var out []model.Volume
	var docker labelReader
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || strings.HasPrefix(name, ".") {
			continue
		}
		v, err := s.read(name)
		if errors.Is(err, fs.ErrNotExist) {
			v, err = s.adopt(name, &docker)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // no volume
		case err != nil:
			s.log.Error("volume cannot be read", "op", "volume.open", "volume", name, "err", err)
		default:
			out = append(out, v)
		}
	}
	return out, nil
}

// read returns a volume with what its file says of it.
func (s *Store) read(name string) (model.Volume, error) {
	var a about
	if err := readJSON(filepath.Join(s.of(name), aboutFile), &a); err != nil {
		return model.Volume{}, err
	}
	// Made open by an administrator's hand, or another's copy.
	if err := os.Chmod(s.of(name), volumeMode); err != nil {
		return model.Volume{}, err
	}
	return model.Volume{Name: name, Driver: a.Driver, Created: a.Created, Labels: a.Labels, Options: a.Options, Mountpoint: s.data(name)}, nil
}

// readJSON reads a file of bounded size, which is no link.
func readJSON(path string, into any) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxAbout {
		return fmt.Errorf("%s: no file of ours", path)
	}
	raw := make([]byte, info.Size())
	if _, err := f.ReadAt(raw, 0); err != nil && info.Size() > 0 {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Make makes a volume, whole or not at all: it gets its name once all of it is on disk.
// It returns the volume with its place. Conflict if there is a folder of that name.
func (s *Store) Make(v model.Volume) (model.Volume, error) {
	return s.make(v, func(string) error { return nil })
}

// make makes a volume whose data fill has put into the folder that it is given.
func (s *Store) make(v model.Volume, fill func(data string) error) (model.Volume, error) {
	staged := filepath.Join(s.dir, newPrefix+v.Name)
	if err := s.erase(staged); err != nil { // of a making that failed
		return v, err
	}
	err := s.furnish(staged, v)
	if err == nil {
		err = fill(filepath.Join(staged, dataFolder))
	}
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, staged, unix.AT_FDCWD, s.of(v.Name), unix.RENAME_NOREPLACE)
	}
	if err == nil {
		err = syncFolder(s.dir)
	}
	if errors.Is(err, unix.EEXIST) {
		err = model.Errorf(model.Conflict, "the folder %s is there and is no volume: move it away", s.of(v.Name))
	}
	if err != nil {
		return v, errors.Join(err, s.erase(staged))
	}
	v.Mountpoint = s.data(v.Name)
	return v, nil
}

// furnish makes the folders of a volume and its file below path.
func (s *Store) furnish(path string, v model.Volume) error {
	if err := makeFolder(path, volumeMode); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(path, dataFolder), dataMode); err != nil {
		return err
	}
	return writeAbout(path, v)
}

// writeAbout writes the file of the volume whose folder is at path.
func writeAbout(path string, v model.Volume) error {
	raw, err := json.Marshal(about{v.Driver, v.Created, v.Labels, v.Options})
	if err != nil {
		return err
	}
	next := filepath.Join(path, aboutFile+".new")
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(path, aboutFile)); err != nil {
		return err
	}
	return syncFolder(path)
}

// syncFolder has the names in a folder written to disk.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Remove removes a volume and its data; one that is gone is success. It loses its name
// at once, so that a kill half-way leaves no half of a volume. Conflict if somebody has
// mounted something in it, which would be emptied too.
func (s *Store) Remove(name string) error {
	if err := s.refuseMounts(s.of(name)); err != nil {
		return err
	}
	old := filepath.Join(s.dir, oldPrefix+name+"-"+strconv.FormatUint(s.olds.Add(1), 10))
	err := os.Rename(s.of(name), old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncFolder(s.dir)
	}
	if err != nil {
		return err
	}
	if err := s.erase(old); err != nil {
		// What is left of it stays in sight, as with Docker.
		return errors.Join(err, unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, s.of(name), unix.RENAME_NOREPLACE))
	}
	return nil
}

// erase removes a folder below that of all volumes. Mounts in it are never entered.
func (s *Store) erase(path string) error {
	if err := s.refuseMounts(path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}
