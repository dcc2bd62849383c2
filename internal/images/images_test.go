package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// fakeStore keeps images by their first names; stuck are those that cannot be removed.
type fakeStore struct {
	images []model.Image
	stuck  model.ImageID
}

func (s *fakeStore) List(context.Context) ([]model.Image, error) { return s.images, nil }

func (s *fakeStore) Find(_ context.Context, ref string) (model.Image, error) {
	for _, i := range s.images {
		if ref == string(i.ID) || len(i.Tags) > 0 && ref == i.Tags[0] {
			return i, nil
		}
	}
	return model.Image{}, model.Errorf(model.NotFound, "No such image: %s", ref)
}

func (s *fakeStore) Tag(_ context.Context, source, tag string) error {
	for n, i := range s.images {
		if string(i.ID) == source {
			s.images[n].Tags = append([]string{tag}, i.Tags...)
		}
	}
	return nil
}

func (s *fakeStore) Remove(_ context.Context, ref string, _ bool) (untagged, deleted []string, err error) {
	if ref == string(s.stuck) {
		return nil, nil, errors.New("disk on fire")
	}
	return nil, []string{ref}, nil
}

func (s *fakeStore) Load(_ context.Context, archive io.Reader) ([]model.Image, error) {
	_, err := io.ReadAll(archive)
	return s.images, err
}

func (s *fakeStore) Import(context.Context, io.Reader, string, []string) (model.Image, error) {
	return model.Image{ID: "sha256:9"}, nil
}

func (s *fakeStore) Save(_ context.Context, refs, _ []string, archive io.Writer) error {
	_, err := io.WriteString(archive, strings.Join(refs, " "))
	return err
}

// fakeMover pulls anything but what is gone.
type fakeMover struct{}

func (fakeMover) Pull(_ context.Context, ref, _ string, _ model.RegistryAuth, report func(model.Progress)) (model.Pulled, error) {
	if strings.HasPrefix(ref, "gone") {
		return model.Pulled{}, model.Errorf(model.NotFound, "%s: not found", ref)
	}
	return model.Pulled{ID: "sha256:1", Name: ref, Repository: WithoutTag(ref)}, nil
}

func (fakeMover) Push(_ context.Context, ref, _ string, _ model.RegistryAuth, report func(model.Progress)) error {
	report(model.Progress{Text: "sent " + ref})
	return nil
}

func (fakeMover) DropAbandoned(context.Context) error { return nil }

// fakeRegistries has three tags of everything.
type fakeRegistries struct{}

func (fakeRegistries) Tags(context.Context, string, model.RegistryAuth) ([]string, error) {
	return []string{"1", "2", "latest"}, nil
}

// users are the containers of images.
type users map[model.ImageID]map[model.ContainerID]bool

func (u users) ImageUsers(id model.ImageID) map[model.ContainerID]bool { return u[id] }

// said remembers what was published.
type said []string

func (s *said) Publish(e events.Message) {
	*s = append(*s, fmt.Sprint(e.Action, " ", e.Actor.ID, " ", e.Actor.Attributes["name"]))
}

func (s *said) want(t *testing.T, what ...string) {
	t.Helper()
	if got, want := strings.Join(*s, ", "), strings.Join(what, ", "); got != want {
		t.Errorf("events: %s, want %s", got, want)
	}
	*s = nil
}

// onlyArm has images for one platform.
type onlyArm struct{ *fakeStore }

func (onlyArm) FindFor(_ context.Context, ref, platform string) (model.Image, error) {
	if platform != "linux/arm64" {
		return model.Image{}, model.Errorf(model.NotFound, "%s is not for %s", ref, platform)
	}
	return model.Image{}, nil
}

func (onlyArm) Manifests(context.Context, string) ([]model.ImageManifest, error) { return nil, nil }

// TestLoadForAPlatform: what has come and is for another platform is named.
func TestLoadForAPlatform(t *testing.T) {
	store := &fakeStore{images: []model.Image{{ID: "sha256:1", Tags: []string{"tools:1"}}}}
	m := New(Options{Store: store, Variants: onlyArm{store}, Mover: fakeMover{}, Containers: users{}, Events: &said{}})
	load := func(platforms ...string) error {
		_, err := m.Load(t.Context(), platforms, strings.NewReader("archive"))
		return err
	}
	if err := errors.Join(load(), load("linux/arm64"), load("linux/amd64", "linux/arm64")); err != nil {
		t.Error(err)
	}
	err := load("linux/amd64")
	if model.KindOf(err) != model.NotFound || !strings.Contains(err.Error(), "image tools:1 was loaded, but doesn't provide the requested platform ([linux/amd64])") {
		t.Error(err)
	}
	store.images = append(store.images, model.Image{ID: "sha256:2"})
	if err := load("linux/amd64"); err == nil || !strings.Contains(err.Error(), "images [tools:1, sha256:2] were loaded, but don't") {
		t.Error(err)
	}
}

func TestEventsOfImages(t *testing.T) {
	heard := &said{}
	store := &fakeStore{images: []model.Image{{ID: "sha256:1"}, {ID: "sha256:2"}}}
	m := New(Options{Store: store, Mover: fakeMover{}, Containers: users{}, Events: heard})
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	check(m.Tag(ctx, "sha256:1", "docker.io/library/tools:1"))
	heard.want(t, "tag sha256:1 tools:1")
	_, err := m.Load(ctx, nil, strings.NewReader("archive"))
	check(err)
	heard.want(t, "load sha256:1 sha256:1", "load sha256:2 sha256:2")
	_, err = m.Import(ctx, strings.NewReader("files"), "", nil)
	check(err)
	heard.want(t, "import sha256:9 sha256:9")
	var archive bytes.Buffer
	check(m.Save(ctx, []string{"docker.io/library/tools:1", "repository"}, nil, &archive))
	heard.want(t, "save sha256:1 docker.io/library/tools:1")
	if err := m.Save(ctx, []string{"gone:1"}, nil, &archive); model.KindOf(err) != model.NotFound {
		t.Errorf("%v", err)
	}
	heard.want(t)
}

// TestPruneGoesOn after an image that cannot be removed, and takes none that is used.
func TestPruneGoesOn(t *testing.T) {
	heard := &said{}
	store := &fakeStore{stuck: "sha256:2", images: []model.Image{
		{ID: "sha256:1", Size: 1}, {ID: "sha256:2", Size: 2}, {ID: "sha256:3", Size: 4}, {ID: "sha256:4", Size: 8}, {ID: "sha256:5", Size: 16, Tags: []string{"named:1"}},
	}}
	m := New(Options{Store: store, Mover: fakeMover{}, Containers: users{"sha256:3": {"c1": false}}, Events: heard})
	done, reclaimed, err := m.Prune(t.Context(), query.Filters{})
	if err != nil || reclaimed != 9 || fmt.Sprint(done) != "[{ sha256:1} { sha256:4}]" {
		t.Errorf("%v, %d bytes, %v", done, reclaimed, err)
	}
	heard.want(t, "delete sha256:1 sha256:1", "delete sha256:4 sha256:4")
}

// TestAllTags are pulled and pushed of a name without a tag, and of one with a tag only that one.
func TestAllTags(t *testing.T) {
	heard, told := &said{}, []string{}
	store := &fakeStore{images: []model.Image{{ID: "sha256:1", Tags: []string{"tools:1", "tools:2", "other:1"}}}}
	m := New(Options{Store: store, Mover: fakeMover{}, Registries: fakeRegistries{}, Containers: users{}, Events: heard})
	transfer := func(ref string) Transfer {
		return Transfer{Ref: ref, Report: func(p model.Progress) { told = append(told, p.Text) }}
	}
	if err := m.Pull(t.Context(), transfer("tools")); err != nil {
		t.Error(err)
	}
	heard.want(t, "pull tools:1 tools", "pull tools:2 tools", "pull tools:latest tools")
	if err := m.Pull(t.Context(), transfer("gone")); err == nil || err.Error() != "error pulling docker.io/library/gone:1: gone:1: not found" || model.KindOf(err) != model.NotFound {
		t.Errorf("%v", err)
	}
	if err := m.Push(t.Context(), transfer("tools")); err != nil {
		t.Error(err)
	}
	heard.want(t, "push tools:1 tools", "push tools:2 tools")
	if got := strings.Join(told, ", "); got != "The push refers to repository [docker.io/library/tools], sent tools:1, sent tools:2" {
		t.Errorf("%s", got)
	}
	if err := m.Push(t.Context(), transfer("none")); err == nil || err.Error() != "An image does not exist locally with the tag: none" {
		t.Errorf("%v", err)
	}
	if err := m.Pull(t.Context(), transfer("Tools")); model.KindOf(err) != model.Invalid {
		t.Errorf("%v", err)
	}
}
