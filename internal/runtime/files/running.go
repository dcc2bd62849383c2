package files

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// running is the way into the files of a container that runs: its own mount namespace, of
// which a copy is made.
type running struct {
	mounts *os.File // the namespace
}

// openRunning finds the namespace of a process and makes sure that it is the container's:
// numbers of processes are used again. NotFound if it is not, or has ended.
func openRunning(id model.ContainerID, pid int) (*running, error) {
	gone := func(err error) error {
		return model.Errorf(model.NotFound, "the process of %s has ended: %w", containerd.Describe(id), err)
	}
	// This folder stays the process's own, whoever has its number next.
	dir, err := os.Open(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		return nil, gone(err)
	}
	defer dir.Close()
	mounts, err := openIn(dir, "ns/mnt")
	if err != nil {
		return nil, gone(err)
	}
	if err := inCgroupOf(dir, id); err != nil {
		mounts.Close() //nolint:errcheck // nothing was written
		return nil, gone(err)
	}
	return &running{mounts}, nil
}

func openIn(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// inCgroupOf tells whether a process, by its folder in /proc, is in a cgroup that has the
// container's ID in its path.
func inCgroupOf(dir *os.File, id model.ContainerID) error {
	f, err := openIn(dir, "cgroup")
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if strings.Contains(lines.Text(), string(id)) {
			return nil
		}
	}
	return errors.Join(lines.Err(), fmt.Errorf("process %s is another's", dir.Name()))
}

func (r *running) close() { r.mounts.Close() } //nolint:errcheck // nothing was written

// enter implements entrance.
func (r *running) enter() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // setns(2) asks for it
		return at("unshare", err)
	}
	if err := unix.Setns(int(r.mounts.Fd()), unix.CLONE_NEWNS); err != nil { //nolint:forbidigo // a mount namespace, and the thread ends with it
		return at("setns", err)
	}
	if err := private(); err != nil {
		return err
	}
	// What the kernel tells there is no file of the container's. As with Docker, only
	// the folders below are seen.
	for _, system := range []string{"/proc", "/sys", "/dev"} {
		for unix.Unmount(system, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil { // there may be several
		}
	}
	return disarm(unix.AT_FDCWD, "/", false)
}
