package runtime

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
)

// holdings lists all that the store has: names, content, begun content, snapshots and
// leases.
func (e *engine) holdings(t *testing.T) []string {
	t.Helper()
	ctx := e.client.Scope(t.Context())
	var out []string
	records, err := e.client.ImageService().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		out = append(out, fmt.Sprintf("name %s %s", r.Name, r.Target.Digest))
	}
	if err := e.client.ContentStore().Walk(ctx, func(i content.Info) error {
		out = append(out, "content "+i.Digest.String())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	begun, err := e.client.ContentStore().ListStatuses(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range begun {
		out = append(out, "begun "+s.Ref)
	}
	if err := e.client.Snapshots().Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		out = append(out, "snapshot "+i.Name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	held, err := e.client.LeasesService().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range held {
		out = append(out, "lease "+l.ID)
	}
	slices.Sort(out)
	return out
}

// sameHoldings checks that nothing was added and nothing lost.
func (e *engine) sameHoldings(t *testing.T, before []string) {
	t.Helper()
	after := e.holdings(t)
	for _, one := range after {
		if !slices.Contains(before, one) {
			t.Errorf("left behind: %s", one)
		}
	}
	for _, one := range before {
		if !slices.Contains(after, one) {
			t.Errorf("lost: %s", one)
		}
	}
}

// TestFailedLoadLeavesNothing: the tag stays with the image that had it, and neither
// content nor snapshots nor records are there that were not before.
func TestFailedLoadLeavesNothing(t *testing.T) {
	e := newEngine(t)
	e.collect(t) // what the first load had too much
	before := e.holdings(t)
	noise := bytes.Repeat([]byte("random\x93\xfe\x01"), 12_000)
	long := marshal(t, map[string]any{"rootfs": map[string]any{"diff_ids": []string{}}, "comment": strings.Repeat("x", 4<<20)})
	honest := testArchive{tag: testImage, items: []item{file("new", "new")}}.bytes(t)
	for name, archive := range map[string][]byte{
		"malformed diff ID":     testArchive{tag: testImage, diffs: []string{"sha256:zz"}}.bytes(t),
		"other diff ID":         testArchive{tag: testImage, diffs: []string{"sha256:" + strings.Repeat("0", 64)}}.bytes(t),
		"too few diff IDs":      testArchive{tag: testImage, diffs: []string{}}.bytes(t),
		"no layer":              testArchive{tag: testImage, layers: [][]byte{noise}}.bytes(t),
		"second layer is noise": testArchive{tag: testImage, layers: [][]byte{rootfsTar(t), noise}}.bytes(t),
		"cut layer":             testArchive{tag: testImage, layers: [][]byte{rootfsTar(t)[:100_000]}}.bytes(t),
		"cut archive":           honest[:len(honest)/2],
		"no archive":            noise,
		"nothing":               nil,
		"configuration is text": testArchive{tag: testImage, document: []byte("hello")}.bytes(t),
		"configuration is list": testArchive{tag: testImage, document: []byte("[]")}.bytes(t),
		"long configuration":    testArchive{tag: testImage, document: long}.bytes(t),
		"impossible name":       testArchive{tag: "a b:c d"}.bytes(t),
		"link out by hard link": testArchive{tag: testImage, items: []item{{Header: tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "../../../../../../../etc/shadow"}}}}.bytes(t),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := e.Images.Load(t.Context(), bytes.NewReader(archive)); err == nil {
				t.Errorf("loaded: %v", got)
			} else if kind := model.KindOf(err); kind != model.Invalid {
				t.Errorf("kind %d of %v, want that the client is to blame", kind, err)
			}
			e.sameHoldings(t, before)
		})
	}
	for name, stream := range map[string]io.Reader{
		"noise": bytes.NewReader(noise), "cut": bytes.NewReader(rootfsTar(t)[:100_000]),
		"broken off": io.MultiReader(bytes.NewReader(rootfsTar(t)[:100_000]), &brokenOff{}),
	} {
		t.Run("import "+name, func(t *testing.T) {
			if got, err := e.Images.Import(t.Context(), stream, testImage, nil); err == nil {
				t.Errorf("imported: %v", got)
			}
			e.sameHoldings(t, before)
		})
	}
	if out, exit := e.run(e.spec("echo runs")); exit.Code != 0 || out != "runs\n" {
		t.Errorf("the image that had the name: %q, exit %d", out, exit.Code)
	}
}

// brokenOff is a client that has gone.
type brokenOff struct{}

func (*brokenOff) Read([]byte) (int, error) { return 0, context.Canceled }

// TestLoadStaysInside: what a layer's entries are called, and what they are, changes
// nothing outside the layer.
func TestLoadStaysInside(t *testing.T) {
	e := newEngine(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "kept"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 20)
	for name, items := range map[string][]item{
		"traversal":        {file(up+outside[1:]+"/new", "new")},
		"absolute":         {file(outside+"/new", "new")},
		"through a link":   {link("l", outside), file("l/new", "new"), file("l/kept", "changed")},
		"link in links":    {link("l", up+outside[1:]), file("l/new", "new")},
		"whiteout":         {link("l", outside), file("l/.wh.kept", "")},
		"opaque":           {link("l", outside), file("l/.wh..wh..opq", "")},
		"device over it":   {link("l", outside), {Header: tar.Header{Name: "l/kept", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}},
		"overlay's xattrs": {{Header: tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": outside}}}},
	} {
		t.Run(name, func(t *testing.T) {
			before := e.holdings(t)
			got, err := e.Images.Load(t.Context(), bytes.NewReader(testArchive{tag: "odd:latest", items: items}.bytes(t)))
			if err != nil {
				e.sameHoldings(t, before)
			} else if _, _, err := e.Images.Remove(t.Context(), string(got[0].ID), true); err != nil {
				t.Error(err)
			}
			entries, err := os.ReadDir(outside)
			if err != nil || len(entries) != 1 {
				t.Errorf("outside: %v %v", entries, err)
			}
			if text, err := os.ReadFile(filepath.Join(outside, "kept")); string(text) != "kept" {
				t.Errorf("outside: %q %v", text, err)
			}
		})
	}
}

// logTo opens the runtime again, with another log.
func (e *engine) logTo(log *slog.Logger) {
	e.t.Helper()
	if err := e.Close(); err != nil {
		e.t.Fatal(err)
	}
	e.opts.Logger = log
	e.open()
}

// TestEmptyImage: an image without layers is one.
func TestEmptyImage(t *testing.T) {
	e := newEngine(t)
	var said lockedBuffer
	e.logTo(slog.New(slog.NewTextHandler(&said, nil)))
	image := e.load(testArchive{tag: "empty:latest", layers: [][]byte{}, config: map[string]any{"Labels": map[string]string{"a": "b"}}})
	if got, err := e.Images.Find(t.Context(), "empty"); err != nil || got.ID != image.ID || got.Damaged != "" || got.Config.Labels["a"] != "b" {
		t.Errorf("image %+v, %v", got, err)
	}
	spec := e.spec("true")
	spec.Image = image.ID
	if err := e.Create(t.Context(), spec); err != nil {
		t.Errorf("create: %v", err)
	}
	if text := said.String(); strings.Contains(text, "unreadable") {
		t.Errorf("log: %s", text)
	}
	if err := e.Delete(t.Context(), spec.ID); err != nil {
		t.Error(err)
	}
	if _, _, err := e.Images.Remove(t.Context(), "empty", false); err != nil {
		t.Error(err)
	}
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestDamagedImage: what an earlier release has left, or the disk has spoiled, is shown,
// complained of once, not run, and can be removed.
func TestDamagedImage(t *testing.T) {
	e := newEngine(t)
	e.collect(t)
	before := e.holdings(t)
	for _, byName := range []bool{true, false} {
		var said lockedBuffer
		e.logTo(slog.New(slog.NewTextHandler(&said, nil)))
		target := e.putDamaged(t, "bad:latest")
		for range 5 {
			if _, err := e.Images.List(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(said.String(), "unreadable image"); n != 1 {
			t.Errorf("complained of %d times, want once: %s", n, &said)
		}
		got, err := e.Images.Find(t.Context(), "bad")
		if err != nil || got.Damaged == "" || !slices.Equal(got.Tags, []string{"bad:latest"}) {
			t.Fatalf("image %+v, %v", got, err)
		}
		spec := e.spec("true")
		spec.Image = got.ID
		if err := e.Create(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("create: %v", err)
		}
		ref := "bad"
		if !byName {
			ref = target.String()[len("sha256:"):][:12]
		}
		if _, deleted, err := e.Images.Remove(t.Context(), ref, false); err != nil || len(deleted) != 1 {
			t.Errorf("remove %s: %v %v", ref, deleted, err)
		}
		e.sameHoldings(t, before)
	}
}

// putDamaged stores an image as releases before did if its archive was bad.
func (e *engine) putDamaged(t *testing.T, tag string) digest.Digest {
	t.Helper()
	ctx, end, err := e.client.Lease(e.client.Scope(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	write := func(kind string, raw []byte, labels map[string]string) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		if err := content.WriteBlob(ctx, e.client.ContentStore(), d.Digest.String(), bytes.NewReader(raw), d, content.WithLabels(labels)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	config := write(ocispec.MediaTypeImageConfig, []byte(`{"rootfs":{"type":"layers","diff_ids":["sha256:zz"]}}`), nil)
	target := write(ocispec.MediaTypeImageManifest, marshal(t, ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config}),
		map[string]string{"containerd.io/gc.ref.content.config": config.Digest.String()})
	name, err := reference.ParseDockerRef(tag)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{name.String(), "keeper.linkspan.internal@" + target.Digest.String()} {
		if _, err := e.client.ImageService().Create(ctx, images.Image{Name: n, Target: target}); err != nil {
			t.Fatal(err)
		}
	}
	if err := end(true); err != nil {
		t.Fatal(err)
	}
	return target.Digest
}
