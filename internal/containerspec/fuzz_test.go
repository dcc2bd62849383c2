package containerspec

import (
	"strings"
	"testing"
)

func FuzzParseBind(f *testing.F) {
	for _, seed := range []string{"/a:/b:ro,rslave", "name:/x", "/x", ":", "a:b:c:d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		b, err := ParseBind(spec)
		if err == nil && (b.Target == "" || strings.Contains(b.Source+b.Target+b.Mode, ":")) {
			t.Fatalf("%q: %+v", spec, b)
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
