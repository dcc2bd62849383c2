package netns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Look opens the network namespace at a path of somebody else's, and says which it is.
// The caller closes it. Errors: NotFound if nothing is there; Invalid if it is no
// network namespace.
func Look(path string) (*os.File, desired.Lent, error) {
	none := desired.Lent{}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0) // whatever else it is feels nothing
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOTDIR) {
		return nil, none, &model.Error{Op: "netns.look", Kind: model.NotFound, Err: fmt.Errorf("there is no network namespace at %s", path)}
	}
	if err != nil {
		return nil, none, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Type != unix.NSFS_MAGIC {
		return nil, none, notANamespace(path)
	}
	file, err := openFile(fmt.Sprintf("/proc/thread-self/fd/%d", fd))
	if err != nil {
		return nil, none, fmt.Errorf("open the network namespace at %s: %w", path, err)
	}
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return nil, none, errors.Join(notANamespace(path), file.Close())
	}
	lent, err := IdentityOf(file)
	lent.Path = path
	return file, lent, err
}

func notANamespace(path string) error {
	return &model.Error{Op: "netns.look", Kind: model.Invalid, Err: fmt.Errorf("%s is no network namespace", path)}
}

// IdentityOf tells an open namespace from all others that there are at the same time: by its
// device and inode.
func IdentityOf(file *os.File) (desired.Lent, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return desired.Lent{}, &os.PathError{Op: "stat", Path: file.Name(), Err: err}
	}
	return desired.Lent{Device: st.Dev, Inode: st.Ino}, nil
}

// IsLent tells whether an open namespace is the one that is meant.
func IsLent(file *os.File, of desired.Lent) bool {
	have, err := IdentityOf(file)
	return err == nil && have.Device == of.Device && have.Inode == of.Inode
}

// Find opens the namespace that is meant where it was found before. The error is
// fs.ErrNotExist if another is there by now, or none.
func Find(of desired.Lent) (*os.File, error) {
	file, have, err := Look(of.Path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if have != of {
		return nil, errors.Join(fmt.Errorf("another network namespace is at %s by now: %w", of.Path, fs.ErrNotExist), file.Close())
	}
	return file, nil
}

// Release takes our name off a namespace of somebody else's in the background, and
// calls then on it afterwards, on a thread inside. It closes namespace.
func (d *Dir) Release(name string, namespace *os.File, then func() error) error {
	d.mu.Lock()
	_, twice := d.goodbyes[name]
	if !twice {
		d.goodbyes[name] = func() error {
			return errors.Join(d.Enter(context.Background(), namespace, then), namespace.Close())
		}
	}
	d.mu.Unlock()
	if twice {
		return namespace.Close()
	}
	return d.Delete(name)
}

// sayGoodbye does what is left to do in a namespace whose name was taken off.
func (d *Dir) sayGoodbye(name string) error {
	d.mu.Lock()
	goodbye := d.goodbyes[name]
	delete(d.goodbyes, name)
	d.mu.Unlock()
	if goodbye == nil {
		return nil
	}
	return goodbye()
}

// AwaitReleases waits until every namespace of somebody else's that was released is as
// it was before: it may be the very one that comes back.
func (d *Dir) AwaitReleases(ctx context.Context) error {
	for {
		name := ""
		d.mu.Lock()
		for leaving := range d.leaving {
			if model.IsGuest(leaving) {
				name = leaving
			}
		}
		d.mu.Unlock()
		if name == "" {
			return nil
		}
		if err := d.awaitRemoval(ctx, name); err != nil {
			return err
		}
	}
}

// Deserted returns those of the namespaces that nothing is left of but the name that we
// gave them below the directory: the path leads elsewhere by now, no process is in it,
// and no file of our mount namespace is it. Looking at the processes takes about 10 µs
// for each, and is left out where all paths lead where they did.
func (d *Dir) Deserted(all map[string]desired.Lent) []string {
	missed := map[string][]string{}
	for name, of := range all {
		if file, err := Find(of); err == nil {
			file.Close()
			continue
		}
		inode := namespaceText(of.Inode)
		missed[inode] = append(missed[inode], name)
	}
	if len(missed) == 0 {
		return nil
	}
	forget := func(inode string) { delete(missed, inode) }
	inhabited(forget)
	d.mounted(forget)
	var out []string
	for _, names := range missed {
		out = append(out, names...)
	}
	return out
}

// namespaceText is how the kernel names a network namespace in /proc.
func namespaceText(inode uint64) string { return "net:[" + strconv.FormatUint(inode, 10) + "]" }

// inhabited calls f with the namespace of every process.
func inhabited(f func(inode string)) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if inode, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns/net")); err == nil {
			f(inode)
		}
	}
}

// mountsMax bounds what is read of the list of mounts, in bytes.
const mountsMax = 64 << 20

// mounted calls f with every network namespace that is mounted somewhere else than
// under our own name (proc_pid_mountinfo(5): root is the fourth field, the mount point
// the fifth).
func (d *Dir) mounted(f func(inode string)) {
	file, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return
	}
	defer file.Close()
	lines := bufio.NewScanner(io.LimitReader(file, mountsMax))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || !strings.HasPrefix(fields[3], "net:[") {
			continue
		}
		if dir, name := filepath.Split(fields[4]); filepath.Clean(dir) == d.realPath() && model.IsGuest(name) {
			continue
		}
		f(fields[3])
	}
}

// realPath is the directory as the list of mounts names it.
func (d *Dir) realPath() string {
	if real, err := filepath.EvalSymlinks(d.path); err == nil {
		return real
	}
	return d.path
}
