// Package images is the hub for images: list, tag, remove, prune, load, import and
// save, for whichever door asks.
//
//	door ─▶ Remove ─▶ who uses it? ─▶ Store ─▶ events ─▶ answer
//
// It decides who may remove an image, what a prune takes, and what is said to those
// who listen. How images are kept, the store knows. It must not know how a client
// writes its requests.
package images

import (
	"context"
	"io"
	"log/slog"
	"strings"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
)

// Store keeps images.
type Store interface {
	List(ctx context.Context) ([]model.Image, error)
	// Find returns the image of a name, digest, ID or the beginning of an ID; not found
	// is "No such image: NAME:TAG".
	Find(ctx context.Context, ref string) (model.Image, error)
	Tag(ctx context.Context, source, tag string) error
	// Remove takes a name off an image and deletes the image with its last name.
	Remove(ctx context.Context, ref string, force bool) (untagged, deleted []string, err error)
	// Load stores the images of a `docker save` or OCI archive.
	Load(ctx context.Context, archive io.Reader) ([]model.Image, error)
	// Import makes an image of one layer from a tar of a root file system; changes
	// are instructions as in a Dockerfile.
	Import(ctx context.Context, rootfs io.Reader, tag string, changes []string) (model.Image, error)
	// Save writes images, of all platforms if none is given.
	Save(ctx context.Context, refs, platforms []string, archive io.Writer) error
}

// Variants knows the platforms of images.
type Variants interface {
	// FindFor is Find of the variant for a platform; Manifests is what an image consists of.
	FindFor(ctx context.Context, ref, platform string) (model.Image, error)
	Manifests(ctx context.Context, ref string) ([]model.ImageManifest, error)
}

// Mover moves images between the store and registries. report is told how far it is, from one
// goroutine at a time, and not after the method has returned.
type Mover interface {
	// Pull brings the image of a tag or digest; platform may be empty. Push sends one.
	Pull(ctx context.Context, ref, platform string, auth model.RegistryAuth, report func(model.Progress)) (model.Pulled, error)
	Push(ctx context.Context, ref, platform string, auth model.RegistryAuth, report func(model.Progress)) error
	// DropAbandoned gives up what failed pulls have left for the next try.
	DropAbandoned(ctx context.Context) error
}

// Registries knows what registries have. Errors are in Docker's words.
type Registries interface {
	// Tags returns the tags of a repository.
	Tags(ctx context.Context, repository string, auth model.RegistryAuth) ([]string, error)
}

// Containers knows who uses images.
type Containers interface {
	// ImageUsers returns the containers made from an image, true for one that runs.
	ImageUsers(id model.ImageID) map[model.ContainerID]bool
}

// Publisher is told what happens to images.
type Publisher interface {
	// Publish does not wait for anybody.
	Publish(e events.Message)
}

// Options are what a Manager is made of. All but Logger are needed.
type Options struct {
	Store      Store
	Variants   Variants
	Mover      Mover
	Registries Registries
	Containers Containers
	Events     Publisher
	Logger     *slog.Logger
}

// Manager knows all images. Its methods may be called from any goroutine.
type Manager struct {
	store      Store
	variants   Variants
	mover      Mover
	registries Registries
	containers Containers
	events     Publisher
	log        *slog.Logger
}

// New returns a manager of a store's images.
func New(o Options) *Manager {
	m := &Manager{store: o.Store, variants: o.Variants, mover: o.Mover, registries: o.Registries, containers: o.Containers, events: o.Events, log: o.Logger}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	return m
}

// Find returns an image by name, digest, ID or the beginning of an ID. Errors:
// NotFound, "No such image: NAME:TAG".
func (m *Manager) Find(ctx context.Context, ref string) (model.Image, error) {
	return m.store.Find(ctx, ref)
}

// FindFor is Find, but of an image with several platforms it returns that of one ("linux/arm64"),
// unless that is empty. Errors: NotFound also if that is not here.
func (m *Manager) FindFor(ctx context.Context, ref, platform string) (model.Image, error) {
	if platform == "" {
		return m.store.Find(ctx, ref)
	}
	return m.variants.FindFor(ctx, ref, platform)
}

// Manifests returns what an image consists of. Errors are those of Find.
func (m *Manager) Manifests(ctx context.Context, ref string) ([]model.ImageManifest, error) {
	return m.variants.Manifests(ctx, ref)
}

// Users returns how many containers are made from an image.
func (m *Manager) Users(id model.ImageID) int { return len(m.containers.ImageUsers(id)) }

// Tag gives an image one more name.
func (m *Manager) Tag(ctx context.Context, ref, name string) error {
	if err := m.store.Tag(ctx, ref, name); err != nil {
		return err
	}
	if i, err := m.store.Find(ctx, name); err == nil {
		m.say(dockerevents.ActionTag, i.ID, familiar(name))
	}
	return nil
}

// Built says that an image was made by a build, with these names.
func (m *Manager) Built(id model.ImageID, names []string) {
	m.say(dockerevents.ActionCreate, id, string(id))
	for _, name := range names {
		m.say(dockerevents.ActionTag, id, familiar(name))
	}
}

// say publishes what happened to an image.
func (m *Manager) say(action dockerevents.Action, id model.ImageID, name string) {
	m.events.Publish(events.Image(action, id, name))
}

// familiar leaves out of a name what Docker's clients do not show.
func familiar(name string) string {
	name, _ = strings.CutPrefix(name, "docker.io/")
	name, _ = strings.CutPrefix(name, "library/")
	return name
}

// WithoutTag cuts the tag or digest off an image's name.
func WithoutTag(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon]
	}
	return name
}
