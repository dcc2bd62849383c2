package ocispec

import (
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
)

func TestResolveUser(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	who, err := ResolveUser(root, "", nil) // without files
	if err != nil {
		t.Fatal(err)
	}
	same(t, "root", who, specs.User{AdditionalGids: []uint32{0}})
	write("real/passwd", "web:x:1000:1001::/:\n")
	write("etc/group", "ops:x:1002:web\nlog:x:1003:\n")
	// A link to an absolute path is one inside the container, not on the host.
	if err := os.Symlink("/real/passwd", filepath.Join(root, "etc/passwd")); err != nil {
		t.Fatal(err)
	}
	for spec, want := range map[string]specs.User{
		"web":     {UID: 1000, GID: 1001, AdditionalGids: []uint32{1001, 1002, 1003}},
		"web:log": {UID: 1000, GID: 1003, AdditionalGids: []uint32{1003, 1003}},
		"7:8":     {UID: 7, GID: 8, AdditionalGids: []uint32{8, 1003}},
	} {
		who, err := ResolveUser(root, spec, []string{"log"})
		if err != nil {
			t.Errorf("%s: %v", spec, err)
		}
		same(t, spec, who, want)
	}
	for _, bad := range []string{"nobody", "web:nogroup", "99999999999"} {
		if _, err := ResolveUser(root, bad, nil); model.KindOf(err) != model.Invalid {
			t.Errorf("%s: %v, want Invalid", bad, err)
		}
	}
}
