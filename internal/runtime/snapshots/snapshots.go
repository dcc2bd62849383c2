package snapshots

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/imagestore"
)

const (
	// LabelContainer says whose writable layer a snapshot is.
	LabelContainer = "linkspan/container"
	labelRoot      = "containerd.io/gc.root"

	// SpareKey is an empty snapshot that is there to be removed; see freeLayers.
	SpareKey = "linkspan-spare"
)

// Store makes and removes containers' file systems. Its methods may be called from any
// goroutine.
type Store struct {
	client *containerd.Client
	log    *slog.Logger

	freeing    sync.Mutex // held while layers that containerd has forgotten are removed
	initLayers sync.Mutex // held while one is made
	filling    sync.Mutex // held while a volume is filled
}

// New returns the snapshots of a containerd.
func New(client *containerd.Client, log *slog.Logger) *Store {
	return &Store{client: client, log: log}
}

// Prepare makes the writable layer of a container on its image's init layer, and
// that first if it is not there.
func (s *Store) Prepare(ctx context.Context, id model.ContainerID, image imagestore.Fact) ([]mount.Mount, error) {
	out, err := s.prepareSnapshot(ctx, id, initLayerOf(image))
	if model.KindOf(err) != model.NotFound {
		return out, err
	}
	if err := s.makeInitLayer(ctx, image); err != nil {
		return nil, err
	}
	return s.prepareSnapshot(ctx, id, initLayerOf(image))
}

// Mounts returns the mounts of a container's file system that was prepared.
func (s *Store) Mounts(ctx context.Context, id model.ContainerID) ([]mount.Mount, error) {
	out, err := s.client.Snapshots().Mounts(ctx, string(id))
	return out, containerd.Fault("create", containerd.Describe(id), err)
}

// prepareSnapshot makes the writable layer. The label makes it a root of the
// garbage collector by itself; a lease for the time until the container refers
// to it would cost two more commits.
func (s *Store) prepareSnapshot(ctx context.Context, id model.ContainerID, parent string) ([]mount.Mount, error) {
	out, err := s.prepare(ctx, string(id), parent, snapshots.WithLabels(map[string]string{
		LabelContainer: string(id),
		labelRoot:      time.Now().UTC().Format(time.RFC3339),
	}))
	return out, containerd.Faultf("create", containerd.Describe(id), "prepare snapshot", err)
}

// prepare makes a layer that can be written, after having removed what is in its way.
func (s *Store) prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	store := s.client.Snapshots()
	out, err := store.Prepare(ctx, key, parent, opts...)
	if containerd.SaysLayerExists(err) {
		s.log.Warn("removing a layer that containerd has forgotten", "op", "runtime.layers", "layer", key, "err", err)
		if freed := s.freeLayers(ctx); freed != nil {
			return nil, errors.Join(err, freed)
		}
		out, err = store.Prepare(ctx, key, parent, opts...)
	}
	return out, err
}

// freeLayers has containerd remove the folders of layers that it does not know. A
// containerd that was killed between making a layer's folder and recording it
// stumbles over the folder at every new layer ("failed to rename … file exists"):
// it counts the layers in the same record. Its garbage collector removes such
// folders, but looks for them only after a snapshot was removed, so that one is
// kept for the purpose.
func (s *Store) freeLayers(ctx context.Context) error {
	s.freeing.Lock()
	defer s.freeing.Unlock()
	if err := s.Remove(ctx, SpareKey); err != nil {
		return err
	}
	lease, err := s.client.LeasesService().Create(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		return containerd.Faultf("create", "", "make a lease", err)
	}
	// The garbage collector runs before this returns.
	if err := s.client.LeasesService().Delete(ctx, lease, leases.SynchronousDelete); err != nil {
		return containerd.Faultf("create", "", "collect garbage", err)
	}
	return s.KeepSpare(ctx)
}

// KeepSpare makes the spare snapshot unless it is there.
func (s *Store) KeepSpare(ctx context.Context) error {
	store := s.client.Snapshots()
	if _, err := store.Stat(ctx, SpareKey); !containerd.IsNotFound(err) {
		return containerd.Faultf("open", "", "look for the spare snapshot", err)
	}
	_, err := store.View(ctx, SpareKey, "", snapshots.WithLabels(map[string]string{
		labelRoot: time.Now().UTC().Format(time.RFC3339),
	}))
	return containerd.Faultf("open", "", "make the spare snapshot", err)
}

// Remove removes a snapshot; one that is not there is success.
func (s *Store) Remove(ctx context.Context, key string) error {
	err := s.client.Snapshots().Remove(ctx, key)
	if containerd.IsNotFound(err) {
		return nil
	}
	return containerd.Faultf("delete", key, "remove snapshot", err)
}

// Sweep removes the writable layers of all containers but those that have
// the given ones, and init layers that were never finished: the lease of the daemon
// that was killed over one would keep it for a day. Nobody may be making a layer.
func (s *Store) Sweep(ctx context.Context, owned map[string]bool) error {
	var stray []string
	walk := func(_ context.Context, info snapshots.Info) error {
		if info.Labels[LabelContainer] != "" && !owned[info.Name] || strings.HasPrefix(info.Name, newInitLayerKey) {
			stray = append(stray, info.Name)
		}
		return nil
	}
	if err := s.client.Snapshots().Walk(ctx, walk); err != nil {
		return containerd.Faultf("open", "", "list snapshots", err)
	}
	for _, key := range stray {
		s.log.Info("removing a snapshot without a container", "op", "runtime.sweep", "container", key)
		if err := s.Remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
