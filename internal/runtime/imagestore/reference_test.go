package imagestore

import (
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"

	"github.com/linkspan/linkspan/internal/model"
)

func TestNormalize(t *testing.T) {
	sum := "sha256:" + strings.Repeat("a", 64)
	for ref, want := range map[string][2]string{
		"busybox":                   {"docker.io/library/busybox:latest", "busybox:latest"},
		"me/app:1":                  {"docker.io/me/app:1", "me/app:1"},
		"reg.example:5000/a/b":      {"reg.example:5000/a/b:latest", "reg.example:5000/a/b:latest"},
		"busybox:1@" + sum:          {"docker.io/library/busybox@" + sum, "busybox@" + sum},
		"index.docker.io/library/a": {"docker.io/library/a:latest", "a:latest"},
	} {
		got, err := normalize(ref)
		if err != nil || got != want[0] || familiar(got) != want[1] {
			t.Errorf("%s: %s (%s) %v, want %v", ref, got, familiar(got), err, want)
		}
	}
	for _, bad := range []string{"", "UPPER", "a b", "a:b:c"} {
		if _, err := normalize(bad); model.KindOf(err) != model.Invalid {
			t.Errorf("%q: %v, want Invalid", bad, err)
		}
	}
	if isAnchor("docker.io/library/keeper:1") || !isAnchor(anchorName(digest.FromString("x"))) {
		t.Error("anchors and tags are confused")
	}
	for annotation, want := range map[string]string{"latest": "", "a/b:1": "docker.io/a/b:1", "a:1": "docker.io/library/a:1", "A:1": ""} {
		if got := layoutName(annotation); got != want {
			t.Errorf("layout name %q: %q, want %q", annotation, got, want)
		}
	}
}
