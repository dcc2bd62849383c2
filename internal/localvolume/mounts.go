package localvolume

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mount"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// Mount has a volume's data where it is said to lie: with options, what they name is
// mounted there, unless that is so already. Errors are in Docker's words.
func (s *Store) Mount(ctx context.Context, v model.Volume) error {
	if v.Options["device"] == "" && v.Options["type"] == "" {
		return nil
	}
	target := s.data(v.Name)
	if mounted, err := mountinfo.Mounted(target); mounted || err != nil {
		return err
	}
	options, err := withAddress(ctx, v.Options["type"], v.Options["o"])
	if err != nil {
		return err
	}
	if err := mount.Mount(v.Options["device"], target, v.Options["type"], options); err != nil {
		return fmt.Errorf("error while mounting volume '%s': failed to mount local volume: %w", target, unsaid(err, options))
	}
	return nil
}

// secret is an error whose text had a password in it.
type secret struct {
	error
	text string
}

func (s secret) Error() string { return s.text }
func (s secret) Unwrap() error { return s.error }

// unsaid keeps the password of a network file system out of an error's text.
func unsaid(err error, options string) error {
	for option := range strings.SplitSeq(options, ",") {
		if word, found := strings.CutPrefix(option, "password="); found && word != "" {
			return secret{err, strings.ReplaceAll(err.Error(), "password="+word, "password=********")}
		}
	}
	return err
}

// withAddress puts the address of a server in the place of its name, which the kernel
// does not resolve.
func withAddress(ctx context.Context, kind, options string) (string, error) {
	if kind != "nfs" && kind != "cifs" {
		return options, nil
	}
	all := strings.Split(options, ",")
	for i, option := range all {
		name, found := strings.CutPrefix(option, "addr=")
		if !found || name == "" {
			continue
		}
		if _, err := netip.ParseAddr(name); err == nil {
			continue
		}
		found4, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		if err != nil {
			return "", fmt.Errorf("error resolving passed in network volume address: %w", err)
		}
		all[i] = "addr=" + found4[0].Unmap().String()
	}
	return strings.Join(all, ","), nil
}

// Unmount takes away what Mount has mounted; nothing mounted is success.
func (s *Store) Unmount(v model.Volume) error {
	if v.Options["device"] == "" && v.Options["type"] == "" {
		return nil
	}
	return unmount(s.data(v.Name))
}

func unmount(path string) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	switch {
	case err == nil, errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT): // it is no mount
		return nil
	case errors.Is(err, unix.EBUSY): // somebody on the host stands in it; it goes when he does
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

// refuseMounts refuses to go on with a folder that something is mounted in. Only the
// administrator can have done that.
func (s *Store) refuseMounts(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	found, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
	if err != nil {
		return fmt.Errorf("look for mounts in %s: %w", path, err)
	}
	if len(found) > 0 {
		return model.Errorf(model.Conflict, "something is mounted at %s: unmount it first, else it would be emptied too", found[0].Mountpoint)
	}
	return nil
}

// folderOf returns below which the parts of volumes are mounted for a container.
func (s *Store) folderOf(id model.ContainerID) string { return filepath.Join(s.parts, string(id)) }

// PartOf returns where the part of a volume is mounted that a container has at target.
func (s *Store) PartOf(id model.ContainerID, target string) string {
	sum := sha256.Sum256([]byte(target))
	return filepath.Join(s.folderOf(id), hex.EncodeToString(sum[:8]))
}

// MountPart mounts a part of a volume's or an image's folder, or all of it, at its place below the
// exec root, from where it comes into the container: the runtime would follow a link that somebody
// puts into the way. No link leads out of the folder. Errors are in Docker's words; NotFound for a part
// that is not there.
func (s *Store) MountPart(id model.ContainerID, folder string, u model.VolumeUse) error {
	part, info, err := openPart(folder, cmp.Or(u.Subpath, "."))
	if err != nil {
		return err
	}
	defer unix.Close(part)
	if err := unmount(u.Part); err != nil { // of a start that was killed
		return err
	}
	if err := os.MkdirAll(s.folderOf(id), 0o700); err != nil {
		return err
	}
	if err := os.Remove(u.Part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.Mkdir(u.Part, 0o700)
	} else {
		err = os.WriteFile(u.Part, nil, 0o600)
	}
	if err != nil {
		return err
	}
	tree, err := unix.OpenTree(part, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("mount %s of %s: %w", cmp.Or(u.Subpath, "all"), folder, err)
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, u.Part, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s of %s: %w", cmp.Or(u.Subpath, "all"), folder, err)
	}
	return nil
}

// openPart opens what a path leads to in a folder, and nothing outside of it.
func openPart(base, sub string) (int, unix.Stat_t, error) {
	var info unix.Stat_t
	dir, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, info, &os.PathError{Op: "open", Path: base, Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, sub, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err == nil {
		if err = unix.Fstat(fd, &info); err != nil {
			unix.Close(fd)
		}
	}
	path := filepath.Join(base, sub)
	switch {
	case errors.Is(err, unix.EXDEV):
		return -1, info, model.Errorf(model.Invalid, "path concatenation escapes the base directory, base: %s, subpath: %s", base, sub)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return -1, info, model.Errorf(model.NotFound, "cannot access path %s: lstat %s: %w", path, path, err)
	case err != nil:
		return -1, info, fmt.Errorf("cannot access path %s: %w", path, err)
	}
	return fd, info, nil
}

// UnmountParts takes away the parts that are mounted for a container; none is success.
// The container keeps what it has.
func (s *Store) UnmountParts(id model.ContainerID) error {
	parts, err := os.ReadDir(s.folderOf(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var failed []error
	for _, p := range parts {
		path := filepath.Join(s.folderOf(id), p.Name())
		if err := unmount(path); err != nil {
			failed = append(failed, err)
			continue
		}
		failed = append(failed, os.Remove(path)) // never what is in a volume
	}
	return errors.Join(append(failed, os.Remove(s.folderOf(id)))...)
}

// Sweep takes away the parts that an earlier daemon has left mounted, and what is
// mounted for volumes that are not in use.
func (s *Store) Sweep(used func(name string) bool, all []model.Volume) error {
	var failed []error
	for _, v := range all {
		if !used(v.Name) {
			failed = append(failed, s.Unmount(v))
		}
	}
	entries, err := os.ReadDir(s.parts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		failed = append(failed, err)
	}
	for _, e := range entries {
		failed = append(failed, s.UnmountParts(model.ContainerID(e.Name())))
	}
	return errors.Join(failed...)
}
