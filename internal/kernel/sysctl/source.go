package sysctl

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxVisits is how many trees are opened on one mount of proc. Every namespace
// that is looked into leaves its entries in the mount's cache, and a look-up goes
// through all of them (proc_sys_compare); a new mount costs 0.1 ms.
const maxVisits = 64

// Source opens trees, on a mount of proc that nobody else sees. It spares them the
// entries of all the namespaces that were looked into through /proc: with
// 1 000 of those a single open of a file below /proc/sys/net takes a millisecond.
type Source struct {
	mu    sync.Mutex
	mount *mount // nil before the first Open
}

// mount is a mount of proc with the trees that use it.
type mount struct {
	dir    *os.File // nil for /proc itself
	visits int
	users  int // trees that are open, and the source
}

// Open returns the sysctls of the calling thread's namespace.
func (s *Source) Open() *Tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mount != nil && s.mount.visits == maxVisits {
		s.mount.release()
		s.mount = nil
	}
	if s.mount == nil {
		s.mount = &mount{dir: mountProc(), users: 1}
	}
	m := s.mount
	m.visits++
	m.users++
	return &Tree{proc: m.dir, dirs: map[string]*os.File{}, done: func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		m.release()
	}}
}

// Close lets go of the mount. Trees that are open stay so; a later Open mounts
// anew.
func (s *Source) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mount != nil {
		s.mount.release()
		s.mount = nil
	}
}

func (m *mount) release() {
	if m.users--; m.users == 0 && m.dir != nil {
		m.dir.Close()
	}
}

// mountProc mounts proc without a place in the file tree (fsmount(2)). It returns
// nil where that is not allowed, or the kernel has but one proc (before 5.8).
func mountProc() *os.File {
	fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), "proc")
}
