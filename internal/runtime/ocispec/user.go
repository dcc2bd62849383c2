package ocispec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// accountLimit bounds how much of a container's passwd or group file is read, in
// bytes: the file is the image author's.
const accountLimit = 8 << 20

// ResolveUser finds the numbers behind a `--user` value in the passwd and group
// files below root, as Docker does: "" is root, a missing file is an empty one,
// and the user's groups in /etc/group come along unless a group was named.
func ResolveUser(root, spec string, extra []string) (specs.User, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return specs.User{}, fmt.Errorf("open root file system: %w", err)
	}
	defer unix.Close(dir) //nolint:errcheck // nothing was written
	passwd, err := readBelow(dir, "etc/passwd")
	if err != nil {
		return specs.User{}, err
	}
	group, err := readBelow(dir, "etc/group")
	if err != nil {
		return specs.User{}, err
	}
	who, err := user.GetExecUser(spec, nil, strings.NewReader(passwd), strings.NewReader(group))
	if err != nil {
		return specs.User{}, &model.Error{Kind: model.Invalid, Err: err}
	}
	more, err := user.GetAdditionalGroups(extra, strings.NewReader(group))
	if err != nil {
		return specs.User{}, &model.Error{Kind: model.Invalid, Err: err}
	}
	out := specs.User{UID: uint32(who.Uid), GID: uint32(who.Gid)}
	// The primary group is listed too: without it a program that gives up its
	// group could still pass checks that deny that group (CVE-2022-36109).
	for _, gid := range append(append([]int{who.Gid}, who.Sgids...), more...) {
		out.AdditionalGids = append(out.AdditionalGids, uint32(gid))
	}
	return out, nil
}

// readBelow reads a small regular file below dir. The kernel resolves every link
// inside dir (openat2(2), RESOLVE_IN_ROOT), so that an image cannot make us read
// a file of the host.
func readBelow(dir int, name string) (string, error) {
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open /%s in the container: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("stat /%s in the container: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return "", model.Errorf(model.Invalid, "/%s in the container is not a file", name)
	}
	raw, err := io.ReadAll(io.LimitReader(f, accountLimit))
	if err != nil {
		return "", fmt.Errorf("read /%s in the container: %w", name, err)
	}
	return string(raw), nil
}
