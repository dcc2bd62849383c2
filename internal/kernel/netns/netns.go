// Package netns makes, lists and removes the network namespaces of sandboxes,
// and is the only door into one: Do. A namespace is a bind mount of its nsfs
// file below the directory that `ip netns` uses, so every container can be
// looked into with the tools of the host (ip-netns(8), network_namespaces(7)).
//
// It must not configure anything inside a namespace; who creates one is called
// back to do that before the namespace gets its name.
//
// Ours: a namespace that the caller of Create marked from inside before it was
// mounted (see link.SetMark), and the file that it is mounted on, of mode 0100 and
// with "linkspan:<instance>" in it. The directory is shared with everybody who uses
// `ip netns add`, and with engines in other mount namespaces: what is without the
// mark is never removed.
//
// A name is only a name: whoever may write to the directory can take it away
// (`ip netns delete`, umount), and the namespace lives on with its processes. They
// are found by TakeCensus and Inside, and Bind gives the name back.
//
// What has gone wrong here: a file is no leftover because nothing is mounted on it
// *here*. Removing it unmounts it in every mount namespace (Linux 3.18), and cut an
// engine off that had the directory in common with another.
package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// DefaultDir is where ip-netns(8) keeps namespaces.
	DefaultDir = "/run/netns"
	// maxInside bounds the threads that are away in other namespaces.
	maxInside = 8
	// maxRemovals bounds the queue of namespaces waiting to be unmounted; a
	// caller that finds it full waits.
	maxRemovals = 256
	// nameMax is NAME_MAX of limits.h, in bytes.
	nameMax = 255
	// huskMode is the mode of the files that our namespaces are mounted on.
	huskMode = 0o100
)

// Options say where namespaces live.
type Options struct {
	Dir    string   // DefaultDir if empty
	Host   *os.File // the namespace that the empty name stands for; owned by the caller
	Logger *slog.Logger
	// Instance marks the files that are made; nothing can be made without one.
	Instance string
}

// Dir is a directory of named namespaces.
type Dir struct {
	path   string
	mark   string // what is in the files of ours; empty without an instance
	host   *os.File
	atHome bool // host is the process's own namespace
	log    *slog.Logger
	inside chan struct{} // places for threads that are away

	removals chan string
	idle     sync.WaitGroup // the remover

	mu       sync.Mutex // guards the fields below
	prepared bool
	leaving  map[string]chan struct{} // closed when the removal is done
	goodbyes map[string]func() error  // what is to be done in those that are others'
}

// New returns the directory. Nothing is written before the first Create.
func New(o Options) *Dir {
	if o.Dir == "" {
		o.Dir = DefaultDir
	}
	d := &Dir{
		path: o.Dir, host: o.Host, log: o.Logger,
		inside:   make(chan struct{}, maxInside),
		removals: make(chan string, maxRemovals),
		leaving:  map[string]chan struct{}{},
		goodbyes: map[string]func() error{},
	}
	if o.Instance != "" {
		d.mark = "linkspan:" + o.Instance + "\n"
	}
	d.atHome = isOwn(d.host)
	d.idle.Go(d.removeLoop)
	return d
}

// isOwn tells whether a namespace's file is that of the process's own: the one in
// which goroutines are that were not locked to a thread.
func isOwn(namespace *os.File) bool {
	if namespace == nil {
		return false
	}
	same := false
	err := stay(func() error {
		a, errA := namespace.Stat()
		b, errB := os.Stat(self)
		if errA == nil && errB == nil {
			same = os.SameFile(a, b)
		}
		return errors.Join(errA, errB)
	})
	return err == nil && same
}

// isHost tells whether a namespace's file is that of the host's.
func (d *Dir) isHost(namespace *os.File) bool {
	if d.host == nil {
		return false
	}
	a, errA := namespace.Stat()
	b, errB := d.host.Stat()
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// Close waits for the removals under way. The Dir must not be used afterwards.
func (d *Dir) Close() {
	close(d.removals)
	d.idle.Wait()
}

// Path returns the file of a namespace, which a runtime can be given.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Open returns a namespace's file; the empty name is the host's. The error is
// fs.ErrNotExist if there is no such namespace, or if it is being removed.
func (d *Dir) Open(name string) (*os.File, error) {
	if name == "" {
		fd, err := unix.FcntlInt(d.host.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open the host's network namespace: %w", err)
		}
		return os.NewFile(uintptr(fd), d.host.Name()), nil
	}
	if err := check(name); err != nil {
		return nil, err
	}
	if d.isLeaving(name) || !isNamespace(d.Path(name)) {
		return nil, fmt.Errorf("network namespace %s: %w", name, fs.ErrNotExist)
	}
	return openFile(d.Path(name))
}

// List names the namespaces in the directory, ours and others', without those
// being removed.
func (d *Dir) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if !d.isLeaving(e.Name()) && isNamespace(d.Path(e.Name())) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Create makes a namespace. setUp is given its file, to close, before the namespace
// has a name, on a thread inside it, so that a crash leaves either nothing or a
// namespace that was set up. The error is fs.ErrExist if the name is taken. A removal of the same name
// that is still under way is waited for.
func (d *Dir) Create(ctx context.Context, name string, setUp func(*os.File) error) error {
	if err := check(name); err != nil {
		return err
	}
	if err := d.awaitRemoval(ctx, name); err != nil {
		return err
	}
	if err := d.prepare(); err != nil {
		return fmt.Errorf("prepare %s: %w", d.path, err)
	}
	path := d.Path(name)
	if isNamespace(path) {
		return fmt.Errorf("network namespace %s: %w", name, fs.ErrExist)
	}
	if err := d.layOut(path); err != nil {
		return fmt.Errorf("create network namespace %s: %w", name, err)
	}
	err := d.visit(ctx, visit{
		arrive: func() error { return unix.Unshare(unix.CLONE_NEWNET) },
		inside: func() error { return publish(path, setUp) },
	})
	if err != nil {
		return errors.Join(fmt.Errorf("create network namespace %s: %w", name, err), d.unlink(path))
	}
	return nil
}

// publish gives the calling thread's new namespace its name.
func publish(path string, setUp func(*os.File) error) error {
	file, err := openFile(self)
	if err != nil {
		return err
	}
	if err := setUp(file); err != nil {
		return err
	}
	return unix.Mount(self, path, "none", unix.MS_BIND, "")
}

// prepare makes the directory a shared mount, as ip-netns(8) does, so that
// namespaces are seen, and later unmounted, in every mount namespace that was
// copied from ours.
func (d *Dir) prepare() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.prepared {
		return nil
	}
	if err := os.MkdirAll(d.path, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", d.path, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err = unix.Mount(d.path, d.path, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
		err = unix.Mount("", d.path, "none", unix.MS_SHARED|unix.MS_REC, "")
	}
	d.prepared = err == nil
	return err
}

// check refuses names that lead out of the directory.
func check(name string) error {
	if name == "." || name == ".." || name != filepath.Base(name) || !fs.ValidPath(name) || len(name) > nameMax {
		return model.Errorf(model.Invalid, "invalid network namespace name %q", name)
	}
	return nil
}

// isNamespace tells whether path is a mounted namespace rather than the empty
// file that a crash or a reboot left.
func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}
