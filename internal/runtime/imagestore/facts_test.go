package imagestore

import (
	"testing"
)

// FuzzParseConfig: a configuration is anybody's text.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"architecture":"amd64","config":{"Healthcheck":{"Interval":-5},"ExposedPorts":{"x":{}}},"rootfs":{"diff_ids":["sha256:zz"]},"history":[{}]}`))
	f.Add([]byte(`{"config":null,"rootfs":null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		image, diffs, err := parseConfig(raw)
		if err != nil {
			return
		}
		if len(diffs) != len(image.Layers) {
			t.Fatalf("%d layers, %d digests", len(image.Layers), len(diffs))
		}
		for _, d := range diffs {
			if d.Validate() != nil {
				t.Fatalf("digest %q was taken", d)
			}
		}
	})
}
