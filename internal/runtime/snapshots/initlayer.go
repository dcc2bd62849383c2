package snapshots

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/imagestore"
)

// InitLayerKey begins the keys of init layers; the number counts changes of what is in
// one, so that a release which puts more into it makes new ones.
const InitLayerKey = "linkspan-init-1-"

// newInitLayerKey begins the keys of init layers while they are being filled.
const newInitLayerKey = InitLayerKey + "new-"

// initEntry is something that every container's file system has, whatever its image
// brought in its place.
type initEntry struct {
	path   string
	kind   uint32 // S_IFDIR, S_IFREG or S_IFLNK (inode(7))
	target string // of a link
}

// initEntries returns what an init layer holds: the places where the OCI runtime mounts
// or makes something as root before the container has a root of its own, and by which
// programs find out that they are in a container. Docker's list, and what runc makes
// besides.
func initEntries() []initEntry {
	return []initEntry{
		{path: "dev/pts", kind: unix.S_IFDIR},
		{path: "dev/shm", kind: unix.S_IFDIR},
		{path: "dev/mqueue", kind: unix.S_IFDIR},
		{path: "dev/console", kind: unix.S_IFREG},
		{path: "proc", kind: unix.S_IFDIR},
		{path: "sys", kind: unix.S_IFDIR},
		{path: "etc/resolv.conf", kind: unix.S_IFREG},
		{path: "etc/hosts", kind: unix.S_IFREG},
		{path: "etc/hostname", kind: unix.S_IFREG},
		{path: "etc/mtab", kind: unix.S_IFLNK, target: "/proc/mounts"},
		{path: ".dockerenv", kind: unix.S_IFREG},
	}
}

// initLayerOf returns the key of the init layer on an image's layers.
func initLayerOf(image imagestore.Fact) string { return InitLayerKey + image.Chain }

// makeInitLayer makes the layer that lies between an image's layers and those of its
// containers. In it, links and files that the image has at places where something is
// mounted, linked or made for a container are replaced, so that they cannot lead the
// runtime out of the root (CVE-2025-52565 and its kin). It is made once per image and
// goes with it.
func (s *Store) makeInitLayer(ctx context.Context, image imagestore.Fact) error {
	s.initLayers.Lock()
	defer s.initLayers.Unlock()
	store := s.client.Snapshots()
	if _, err := store.Stat(ctx, initLayerOf(image)); !containerd.IsNotFound(err) {
		return containerd.Faultf("create", "", "look for the init layer", err)
	}
	ctx, end, err := s.client.Lease(ctx)
	if err != nil {
		return err
	}
	key := fmt.Sprintf("%s%d", newInitLayerKey, time.Now().UnixNano())
	made := func() error {
		mounts, err := s.prepare(ctx, key, image.Chain)
		if err != nil {
			return containerd.Faultf("create", string(image.Image.ID), "prepare the init layer", err)
		}
		if err := mount.WithTempMount(ctx, mounts, fillInitLayer); err != nil {
			return containerd.Faultf("create", string(image.Image.ID), "fill the init layer", err)
		}
		return containerd.Faultf("create", string(image.Image.ID), "commit the init layer", store.Commit(ctx, initLayerOf(image), key))
	}()
	if made == nil {
		made = s.keepInitLayer(ctx, image)
	}
	return errors.Join(made, end(made == nil))
}

// keepInitLayer lets an image's configuration refer to the init layer, so that the
// collector keeps it for as long as the image.
func (s *Store) keepInitLayer(ctx context.Context, image imagestore.Fact) error {
	label := "containerd.io/gc.ref.snapshot." + s.client.Snapshotter + "/linkspan-init"
	_, err := s.client.ContentStore().Update(ctx, content.Info{
		Digest: digest.Digest(image.Image.ID), Labels: map[string]string{label: initLayerOf(image)},
	}, "labels."+label)
	return containerd.Faultf("create", string(image.Image.ID), "keep the init layer", err)
}

// fillInitLayer makes all entries below root.
func fillInitLayer(root string) error {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open root file system: %w", err)
	}
	defer unix.Close(dir) //nolint:errcheck // nothing is written through it
	for _, e := range initEntries() {
		if err := putEntry(dir, e); err != nil {
			return fmt.Errorf("/%s: %w", e.path, err)
		}
	}
	return nil
}

// putEntry makes one entry below dir, component by component: none is followed that is
// a link, and whatever stands in the way and is no folder goes.
func putEntry(dir int, e initEntry) error {
	folder, name := path.Split(e.path)
	at, err := enterFolders(dir, strings.FieldsFunc(folder, func(r rune) bool { return r == '/' }))
	if err != nil {
		return err
	}
	defer unix.Close(at) //nolint:errcheck // nothing is written through it
	switch e.kind {
	case unix.S_IFDIR:
		sub, err := enterFolder(at, name)
		if err == nil {
			unix.Close(sub) //nolint:errcheck // as above
		}
		return err
	case unix.S_IFLNK:
		if err := unlinkOther(at, name); err != nil {
			return err
		}
		return orThere(unix.Symlinkat(e.target, at, name))
	}
	if err := unlinkOther(at, name); err != nil {
		return err
	}
	return orThere(unix.Mknodat(at, name, unix.S_IFREG|0o755, 0))
}

// orThere takes what is there already, which only a folder can be, for success: the
// image's author wants it so, and it leads nowhere.
func orThere(err error) error {
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// enterFolders opens the folder that names lead to.
func enterFolders(dir int, names []string) (int, error) {
	at, err := unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 0)
	for _, name := range names {
		if err != nil {
			return -1, err
		}
		above := at
		at, err = enterFolder(above, name)
		unix.Close(above) //nolint:errcheck // nothing is written through it
	}
	return at, err
}

// enterFolder opens a folder in dir, making it if there is none by that name.
func enterFolder(dir int, name string) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, name, flags, 0)
	if err == nil {
		return fd, nil
	}
	if err := unlinkOther(dir, name); err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(dir, name, 0o755); err != nil {
		return -1, err
	}
	return unix.Openat(dir, name, flags, 0)
}

// unlinkOther removes what is in dir by that name and is no folder.
func unlinkOther(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EISDIR) {
		return nil
	}
	return err
}

// labelInit marks the layer of a container, made by a release without init layers, that
// holds the entries of one itself.
const labelInit = "linkspan/init"

// InitOlder puts the entries of an init layer into the layers of containers that were
// made without one and do not run. Those that run get it from a later daemon.
func (s *Store) InitOlder(ctx context.Context) error {
	var older []string
	store := s.client.Snapshots()
	err := store.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Labels[LabelContainer] != "" && info.Labels[labelInit] == "" && !strings.HasPrefix(info.Parent, InitLayerKey) {
			older = append(older, info.Name)
		}
		return nil
	})
	if err != nil || len(older) == 0 {
		return containerd.Faultf("open", "", "list snapshots", err)
	}
	var failed []error
	for _, key := range older {
		if _, err := s.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: key}); !containerd.IsNotFound(err) {
			continue
		}
		mounts, err := store.Mounts(ctx, key)
		if err == nil {
			err = mount.WithTempMount(ctx, mounts, fillInitLayer)
		}
		if err == nil {
			_, err = store.Update(ctx, snapshots.Info{Name: key, Labels: map[string]string{labelInit: "1"}}, "labels."+labelInit)
		}
		failed = append(failed, containerd.Faultf("open", key, "init layer of an older container", err))
	}
	return errors.Join(failed...)
}
