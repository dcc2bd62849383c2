package containers

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/linkspan/linkspan/internal/model"
)

// registry has all containers that there are. It finds them by ID, and by the names that
// the engine's state gives them.
type registry struct {
	engine Engine

	mu      sync.Mutex
	entries map[model.ContainerID]*entry
}

// find looks a container up as Docker does: by full ID, then by name with or
// without a slash, or the name of a link to it ("parent/alias"), then by a prefix
// of the ID that is not ambiguous.
func (reg *registry) find(ref string) (*entry, error) {
	if ref == "" {
		return nil, model.Errorf(model.Invalid, "No container name or ID supplied")
	}
	if b, ok := reg.linkedAs(ref); ok {
		return b, nil
	}
	named, _ := reg.engine.Snapshot().ContainerNamed(strings.TrimPrefix(ref, "/"))
	reg.mu.Lock()
	defer reg.mu.Unlock()
	if b, ok := reg.entries[model.ContainerID(ref)]; ok {
		return b, nil
	}
	if b, ok := reg.entries[named.ID]; ok {
		return b, nil
	}
	var found []*entry
	for id, b := range reg.entries {
		if strings.HasPrefix(string(id), ref) {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, model.Errorf(model.NotFound, "No such container: %s", ref)
	}
	return nil, model.Errorf(model.Invalid, "multiple IDs found with provided prefix: %s", ref)
}

// acquire finds a container and acquires its opLock; the caller releases it.
func (reg *registry) acquire(ctx context.Context, ref string) (*entry, error) {
	b, err := reg.find(ref)
	if err != nil {
		return nil, err
	}
	if err := b.opLock.acquire(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	gone := b.gone
	b.mu.Unlock()
	if gone {
		b.opLock.release()
		return nil, model.Errorf(model.NotFound, "No such container: %s", ref)
	}
	return b, nil
}

// entry finds a container by its whole ID.
func (reg *registry) entry(id model.ContainerID) (*entry, bool) {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	b, ok := reg.entries[id]
	return b, ok
}

// all returns every container, the newest first.
func (reg *registry) all() []*entry {
	reg.mu.Lock()
	out := slices.Collect(maps.Values(reg.entries))
	reg.mu.Unlock()
	slices.SortFunc(out, func(a, b *entry) int {
		// Created and ID never change.
		if c := b.rec.Created.Compare(a.rec.Created); c != 0 {
			return c
		}
		return strings.Compare(string(a.id), string(b.id))
	})
	return out
}

// restarting is the refusal of verbs that have to wait for the restart.
func restarting(id model.ContainerID) error {
	return model.Errorf(model.Conflict, "container %s is restarting, wait until the container is running", id)
}

// notRunning is the refusal of verbs that need a process.
func notRunning(id model.ContainerID) error {
	return model.Errorf(model.Conflict, "container %s is not running", id)
}

// orEnded puts notRunning in the place of an error that says that the process is
// gone: it has ended, and that is about to be recorded.
func orEnded(id model.ContainerID, err error) error {
	if model.KindOf(err) == model.NotFound {
		return notRunning(id)
	}
	return err
}
