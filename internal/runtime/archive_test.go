package runtime

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	goruntime "runtime"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// item is a member of a layer: a tar header and what is in the file.
type item struct {
	tar.Header
	data string
}

func link(name, target string) item {
	return item{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}}
}

func file(name, data string) item {
	return item{Header: tar.Header{Name: name, Mode: 0o644}, data: data}
}

// testArchive says what `docker load` is given; zero values are an honest image of busybox.
type testArchive struct {
	tag    string
	config map[string]any // what the image says of running it
	items  []item         // on top of busybox
	layers [][]byte       // instead of busybox and items
	// diffs are said to be the layers' digests, if not nil; document is the whole
	// configuration, if not nil.
	diffs    []string
	document []byte
}

// layersOf returns the layers: busybox, and on it what the archive adds.
func (a testArchive) layersOf(t *testing.T) [][]byte {
	t.Helper()
	if a.layers != nil {
		return a.layers
	}
	out := [][]byte{rootfsTar(t)}
	if len(a.items) == 0 {
		return out
	}
	var top bytes.Buffer
	w := tar.NewWriter(&top)
	for _, i := range a.items {
		writeTar(t, w, i.Header, []byte(i.data))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(out, top.Bytes())
}

// bytes returns the archive as `docker save` writes it.
func (a testArchive) bytes(t *testing.T) []byte {
	t.Helper()
	layers := a.layersOf(t)
	diffs := a.diffs
	if diffs == nil {
		diffs = []string{}
		for _, l := range layers {
			sum := sha256.Sum256(l)
			diffs = append(diffs, "sha256:"+hex.EncodeToString(sum[:]))
		}
	}
	document := a.document
	if document == nil {
		document = marshal(t, map[string]any{
			"architecture": goruntime.GOARCH, "os": "linux", "config": a.config, "comment": a.tag,
			"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
		})
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	names := []string{}
	for i, l := range layers {
		names = append(names, string(rune('a'+i))+".tar")
		writeTar(t, w, tar.Header{Name: names[i], Mode: 0o644}, l)
	}
	writeTar(t, w, tar.Header{Name: "config.json", Mode: 0o644}, document)
	manifest := map[string]any{"Config": "config.json", "Layers": names}
	if a.tag != "" {
		manifest["RepoTags"] = []string{a.tag}
	}
	writeTar(t, w, tar.Header{Name: "manifest.json", Mode: 0o644}, marshal(t, []any{manifest}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// load loads an archive that must be good.
func (e *engine) load(a testArchive) model.Image {
	e.t.Helper()
	got, err := e.Images.Load(e.t.Context(), bytes.NewReader(a.bytes(e.t)))
	if err != nil || len(got) != 1 {
		e.t.Fatalf("load %s: %v %v", a.tag, got, err)
	}
	return got[0]
}
