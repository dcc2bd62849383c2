package dockerapi

import (
	"errors"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func noSuchImage() error {
	return &model.Error{Kind: model.NotFound, Err: errors.New("No such image: gone:latest")}
}

// FuzzCreate: whatever a client sends is either understood or refused as its own
// mistake, in every version.
func FuzzCreate(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"Image":"x"}`, `{"Image":"x","MacAddress":"02:00:00:00:00:01","HostConfig":{"NetworkMode":"b","Sysctls":{"net.ipv4.conf.eth0.a":"1"}}}`,
		`{"Image":"x","HostConfig":null,"NetworkingConfig":{"EndpointsConfig":{"a":null}}}`, `{"Image":"x","MacAddress":"02:00:00:00:00:01","NetworkingConfig":{"EndpointsConfig":{"a":null}}}`,
		`{"Image":"x","ExposedPorts":{"80/tcp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"::1","HostPort":"1-2"}]}}}`,
	} {
		for _, v := range []uint8{24, 43, 47, 56} {
			f.Add(v, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, v uint8, raw []byte) {
		var body createBody
		err := decodeJSON(raw, &body)
		if err == nil {
			out, _, terr := translateCreate(version(v), body)
			if err = terr; err == nil && (out.Config == nil || out.Host == nil || out.Networking == nil || out.Networking.EndpointsConfig == nil) {
				t.Fatalf("%q: incomplete: %+v", raw, out)
			}
		}
		if err != nil && statusOf(err) != 400 {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}

func FuzzVersion(f *testing.F) {
	for _, seed := range []string{"/v1.24/_ping", "/_ping", "/v1", "/v1.x/", "//", "/v1.56//containers"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		v, rest, err := splitVersion(path)
		if v < oldestVersion || v > newestVersion {
			t.Fatalf("%q: %v", path, v)
		}
		if err == nil && len(path) > 0 && path[0] == '/' && (rest == "" || rest[0] != '/') {
			t.Fatalf("%q: %q", path, rest)
		}
	})
}
