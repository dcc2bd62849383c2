package containers

import (
	"testing"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
)

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
		err := httpkit.DecodeJSON(raw, &body)
		if err == nil {
			out, _, terr := translateCreate(httpkit.Version(v), body)
			if err = terr; err == nil && (out.Config == nil || out.Host == nil || out.Networking == nil || out.Networking.EndpointsConfig == nil) {
				t.Fatalf("%q: incomplete: %+v", raw, out)
			}
		}
		if err != nil && httpkit.StatusOf(err) != 400 {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}
