package containerspec

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// FuzzMeant: whatever an image's author writes, what is left of it would be taken from a
// user too.
func FuzzMeant(f *testing.F) {
	f.Add([]byte(`{"User":"a\u0000","Env":["=","A=b"],"Volumes":["..","/"],"StopSignal":"0","ExposedPorts":["1/x"],"Healthcheck":{"Test":["CMD"],"Interval":-1}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var image model.ImageConfig
		if json.Unmarshal(raw, &image) != nil {
			return
		}
		said, err := FromImage(image)
		if err != nil {
			return
		}
		r := Request{Config: &container.Config{}, Host: &container.HostConfig{}}
		if Merge(r.Config, said) != nil {
			return
		}
		for _, check := range []func(Request) error{checkHealth, checkPolicies, checkVariables, checkPorts} {
			if err := check(r); err != nil {
				t.Fatalf("%s: %v", raw, err)
			}
		}
		for v := range r.Config.Volumes {
			if !strings.HasPrefix(v, "/") || v == "/" {
				t.Fatalf("volume at %q", v)
			}
		}
	})
}
