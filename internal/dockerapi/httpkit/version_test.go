package httpkit

import "testing"

func TestParseVersionNeverServesAnother(t *testing.T) {
	for _, text := range []string{"1.024", "01.40"} {
		if v, err := parseVersion(text); err == nil && (v < OldestVersion || v > NewestVersion) {
			t.Errorf("%s: %v", text, v)
		}
	}
}

func FuzzVersion(f *testing.F) {
	for _, seed := range []string{"/v1.24/_ping", "/_ping", "/v1", "/v1.x/", "//", "/v1.56//containers"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		v, rest, err := SplitVersion(path)
		if v < OldestVersion || v > NewestVersion {
			t.Fatalf("%q: %v", path, v)
		}
		if err == nil && len(path) > 0 && path[0] == '/' && (rest == "" || rest[0] != '/') {
			t.Fatalf("%q: %q", path, rest)
		}
	})
}
