package imagestore

import (
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
)

func entry(id, name string) imageEntry {
	return imageEntry{
		Fact: Fact{Image: model.Image{ID: model.ImageID("sha256:" + id + strings.Repeat("0", 64-len(id)))}},
		records: []images.Image{{Name: anchorName(digest.FromString(id)), Target: ocispec.Descriptor{Digest: digest.FromString(id)}},
			{Name: name, Target: ocispec.Descriptor{Digest: digest.FromString(id)}}},
	}
}

func TestFindImage(t *testing.T) {
	all := []imageEntry{entry("abc1", "docker.io/library/web:latest"), entry("abd2", "docker.io/library/abc1:latest"),
		entry("ff00", "reg.example/x:2")}
	for ref, want := range map[string]string{
		"web": "abc1", "web:latest": "abc1", "docker.io/library/web": "abc1", "reg.example/x:2": "ff00",
		"ff": "ff00", "sha256:abd": "abd2", "abc1": "abd2", // a name goes before an ID
		string(all[2].Image.ID):                                "ff00",
		strings.TrimPrefix(string(all[0].Image.ID), "sha256:"): "abc1",
		"web@" + digest.FromString("abc1").String():            "abc1",
		digest.FromString("abd2").String():                     "abd2", // of its manifest
	} {
		e, _, err := findImage(all, ref)
		if err != nil || !strings.HasPrefix(string(e.Image.ID), "sha256:"+want) {
			t.Errorf("%s: %s %v, want %s", ref, e.Image.ID, err, want)
		}
	}
	for ref, want := range map[string]struct {
		kind model.Kind
		text string
	}{
		"nosuch":                            {model.NotFound, "No such image: nosuch:latest"},
		"x":                                 {model.NotFound, "No such image: x:latest"},
		"ab":                                {model.Conflict, "ambiguous reference"},
		"0000":                              {model.NotFound, "No such image: 0000"},
		"a b":                               {model.Invalid, "invalid reference format"},
		"sha256:" + strings.Repeat("1", 64): {model.NotFound, "No such image: sha256:1111"},
	} {
		_, _, err := findImage(all, ref)
		if model.KindOf(err) != want.kind || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v, want %s", ref, err, want.text)
		}
	}
}
