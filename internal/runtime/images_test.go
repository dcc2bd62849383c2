package runtime

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/linkspan/linkspan/internal/model"
)

func tagsOf(t *testing.T, e *engine, ref string) []string {
	t.Helper()
	img, err := e.Images.Find(t.Context(), ref)
	if err != nil {
		t.Fatalf("image %s: %v", ref, err)
	}
	return img.Tags
}

func TestImageLife(t *testing.T) {
	e := newEngine(t)
	ctx := t.Context()
	img, err := e.Images.Find(ctx, strings.TrimPrefix(string(e.image.ID), "sha256:")[:12])
	if err != nil {
		t.Fatal(err)
	}
	if img.Comment != "made by a test" || img.Config.WorkingDir != "/srv" || img.Size < 1_000_000 || len(img.Layers) != 1 ||
		!slices.Equal(img.Config.ExposedPorts, []string{"80/tcp"}) || img.Created.Year() != 2024 || len(img.History) != 1 {
		t.Errorf("image %+v", img)
	}
	if err := e.Images.Tag(ctx, testImage, "other:1"); err != nil {
		t.Fatal(err)
	}
	if got := tagsOf(t, e, "other:1"); !slices.Equal(got, []string{testImage, "other:1"}) {
		t.Errorf("tags %v", got)
	}
	if _, _, err := e.Images.Remove(ctx, string(e.image.ID), false); model.KindOf(err) != model.Conflict ||
		!strings.Contains(err.Error(), "image is referenced in multiple repositories") {
		t.Errorf("remove by ID: %v, want Conflict", err)
	}
	untagged, deleted, err := e.Images.Remove(ctx, "other:1", false)
	if err != nil || !slices.Equal(untagged, []string{"other:1"}) || deleted != nil {
		t.Errorf("remove a tag: %v %v %v", untagged, deleted, err)
	}
	untagged, deleted, err = e.Images.Remove(ctx, testImage, false)
	if err != nil || !slices.Equal(untagged, []string{testImage}) || !slices.Equal(deleted, []string{string(e.image.ID)}) {
		t.Errorf("remove the last tag: %v %v %v", untagged, deleted, err)
	}
	if _, err := e.Images.Find(ctx, testImage); model.KindOf(err) != model.NotFound {
		t.Errorf("image after remove: %v, want NotFound", err)
	}
	e.noSnapshots(t)
}

// noSnapshots checks that the garbage collector has taken the layers too.
func (e *engine) noSnapshots(t *testing.T) {
	t.Helper()
	left := func() (names []string) {
		err := e.client.Snapshots().Walk(e.client.Scope(t.Context()),
			func(_ context.Context, info snapshots.Info) error {
				if info.Name != "linkspan-spare" {
					names = append(names, info.Name)
				}
				return nil
			})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	eventually(t, func() bool { return len(left()) == 0 }, func() string { return "layers left: " + strings.Join(left(), " ") })
}

func TestSaveAndLoad(t *testing.T) {
	e := newEngine(t)
	ctx := t.Context()
	var archive, byID bytes.Buffer
	if err := e.Images.Tag(ctx, testImage, "linkspan-test/busybox:2"); err != nil {
		t.Fatal(err)
	}
	if err := e.Images.Save(ctx, []string{"linkspan-test/busybox"}, nil, &archive); err != nil {
		t.Fatal(err)
	}
	if err := e.Images.Save(ctx, []string{string(e.image.ID)}, nil, &byID); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"latest", "2"} {
		if _, _, err := e.Images.Remove(ctx, "linkspan-test/busybox:"+want, true); err != nil {
			t.Fatal(err)
		}
	}
	got, err := e.Images.Load(ctx, &byID)
	if err != nil || len(got) != 1 || got[0].ID != e.image.ID || got[0].Tags != nil {
		t.Errorf("load of an image without names: %+v %v", got, err)
	}
	got, err = e.Images.Load(ctx, &archive)
	if err != nil || len(got) != 1 || got[0].ID != e.image.ID ||
		!slices.Equal(got[0].Tags, []string{"linkspan-test/busybox:2", testImage}) {
		t.Errorf("loaded %+v %v", got, err)
	}
	if out, _ := e.run(e.spec("echo again")); out != "again\n" {
		t.Errorf("output %q", out)
	}
	if _, err := e.Images.Load(ctx, strings.NewReader("this is not an archive, and long enough to be sure of it")); err == nil {
		t.Error("garbage is loaded")
	}
}

func TestImport(t *testing.T) {
	e := newEngine(t)
	ctx := t.Context()
	img, err := e.Images.Import(ctx, bytes.NewReader(rootfsTar(t)), testImage, []string{`CMD ["/bin/echo","imported"]`, "ENV A=b"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(img.Tags, []string{testImage}) || !slices.Equal(img.Config.Env, []string{"A=b"}) {
		t.Errorf("image %+v", img)
	}
	// The name has moved; the image that had it lives on without.
	if got := tagsOf(t, e, string(e.image.ID)); got != nil {
		t.Errorf("old image still has %v", got)
	}
	spec := e.spec("")
	spec.Image, spec.Process.Args = img.ID, img.Config.Cmd
	if out, _ := e.run(spec); out != "imported\n" {
		t.Errorf("output %q", out)
	}
	all, err := e.Images.List(ctx)
	if err != nil || len(all) != 2 || all[0].ID != img.ID {
		t.Errorf("images %+v %v, want two, the new one first", all, err)
	}
	if _, err := e.Images.Import(ctx, strings.NewReader(""), "x@y", nil); model.KindOf(err) != model.Invalid {
		t.Errorf("import under a bad name: %v, want Invalid", err)
	}
}

func TestContainerOutlivesItsImage(t *testing.T) {
	e := newEngine(t)
	c := e.start(e.spec("sleep 1000"))
	if _, _, err := e.Images.Remove(t.Context(), testImage, true); err != nil {
		t.Fatal(err)
	}
	out, _, _ := c.exec(model.Process{Args: []string{"ls", "/bin/busybox"}})
	if out != "/bin/busybox\n" {
		t.Errorf("output %q", out)
	}
	if _, err := e.DeleteTask(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if err := e.Delete(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
}
