package containerspec

import (
	"encoding/json"
	"path"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/mount"

	"github.com/linkspan/linkspan/internal/model"
)

func FuzzParseBind(f *testing.F) {
	for _, seed := range []string{"/a:/b:ro,rslave", "name:/x", "/x", ":", "a:b:c:d", "v:/x:nocopy", "/a:/b:z,Z", "/a/../b:/c/../..", "x:ro"} {
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, raw, driver string) {
		m, mode, err := ParseBind(raw, driver)
		if err != nil {
			if model.KindOf(err) != model.Invalid {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		p, err := Point(m)
		if err != nil || strings.ContainsAny(p.Destination+mode, ":\x00") || p.Destination == "/" || !path.IsAbs(p.Destination) || path.Clean(p.Destination) != p.Destination {
			t.Fatalf("%q: %+v, %v", raw, p, err)
		}
		if p.Type == mount.TypeBind && (!path.IsAbs(p.Source) || p.Propagation == "") || p.Type == mount.TypeVolume && (p.Propagation != "" || p.Anonymous != (p.Name == "")) {
			t.Fatalf("%q: %+v", raw, p)
		}
	})
}

// FuzzCheckMount: what is taken of a --mount leads to one clean place, and no part of a
// volume out of it.
func FuzzCheckMount(f *testing.F) {
	for _, seed := range []string{
		`{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true,"BindOptions":{"Propagation":"rslave","ReadOnlyForceRecursive":true}}`,
		`{"Type":"volume","Source":"v","Target":"/b","VolumeOptions":{"Subpath":"a/../b","DriverConfig":{"Options":{"type":"tmpfs"}}}}`,
		`{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":65536,"Mode":511,"Options":[["exec"]]}}`,
		`{"Type":"image","Source":"busybox","Target":"/i"}`, `{"Type":"npipe"}`, `{"Type":"cluster","Target":"/x","ClusterOptions":{}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var m mount.Mount
		if json.Unmarshal([]byte(text), &m) != nil || CheckMount(m) != nil {
			return
		}
		p, err := Point(m)
		if err != nil && model.KindOf(err) != model.Invalid {
			t.Fatalf("%s: %v", text, err)
		}
		if p.Destination == "/" || path.Clean(p.Destination) != p.Destination || !path.IsAbs(p.Destination) {
			t.Fatalf("%s: %+v", text, p)
		}
		if p.Subpath != "" && (path.IsAbs(p.Subpath) || strings.HasPrefix(path.Clean(p.Subpath), "..")) {
			t.Fatalf("%s: %+v", text, p)
		}
	})
}

func FuzzCheckName(f *testing.F) {
	f.Add("../../etc")
	f.Add("a.b")
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) == nil && (len(name) < 2 || strings.ContainsAny(name, "/\x00\n ") || name[0] == '.') {
			t.Fatalf("%q was taken", name)
		}
	})
}
