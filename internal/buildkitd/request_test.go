package buildkitd

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
)

func TestSolveRequest(t *testing.T) {
	r, err := solveRequest(wire.Build{
		Dockerfile: "D", Tags: []string{"app", "app:latest", "reg:5000/x:1"}, Args: map[string]string{"A": "1", "BUILDKIT_INLINE_CACHE": "1"}, Labels: map[string]string{"l": "v"},
		Hosts: []string{"db:10.0.0.1", "me:host-gateway", "six:fe80::1"}, Network: "host", NoCache: true, Pull: true, Memory: 5, ShmSize: 7, Ulimits: []string{"nofile=1:2"},
	}, "http://context", []string{"172.17.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"context": "http://context", "filename": "D", "build-arg:A": "1", "build-arg:BUILDKIT_INLINE_CACHE": "1", "label:l": "v",
		"add-hosts": "db=10.0.0.1,me=172.17.0.1,six=fe80::1", "force-network-mode": "host", "no-cache": "", "image-resolve-mode": "pull",
		"memory": "5", "shm-size": "7", "ulimit": "nofile=1:2",
	}
	if !maps.Equal(r.FrontendAttrs, want) {
		t.Errorf("attributes %v\nwant %v", r.FrontendAttrs, want)
	}
	if len(r.Exporters) != 1 || r.Exporters[0].Type != "moby" || r.Exporters[0].Attrs["name"] != "docker.io/library/app:latest,reg:5000/x:1" {
		t.Errorf("exporters %v", r.Exporters)
	}
	if !reflect.DeepEqual(r.Entitlements, []string{"network.host"}) || len(r.Cache.Exports) != 1 || r.Cache.Exports[0].Type != "inline" {
		t.Errorf("entitlements %v, cache %v", r.Entitlements, r.Cache)
	}
}

// TestPlainRequest: what is not asked for is not said, and local images come first.
func TestPlainRequest(t *testing.T) {
	r, err := solveRequest(wire.Build{Outputs: []wire.Output{{Type: "cacheonly"}}}, "", nil)
	if err != nil || len(r.Exporters) != 0 || len(r.Entitlements) != 0 || !maps.Equal(r.FrontendAttrs, map[string]string{"image-resolve-mode": "local"}) {
		t.Errorf("%v %v", r, err)
	}
	r, err = solveRequest(wire.Build{Tags: []string{"x"}, Outputs: []wire.Output{{Type: "tar", Attrs: map[string]string{"a": "b"}}}}, "", nil)
	if err != nil || len(r.Exporters) != 1 || r.Exporters[0].Type != "tar" || !maps.Equal(r.Exporters[0].Attrs, map[string]string{"a": "b"}) {
		t.Errorf("%v %v", r, err)
	}
}

// TestRequestOnANetwork: of a client that wants no messages of BuildKit's a network of the user's is known by the hostname, which
// no argument changes.
func TestRequestOnANetwork(t *testing.T) {
	r, err := solveRequest(wire.Build{Network: "web", Args: map[string]string{"BUILDKIT_SANDBOX_HOSTNAME": "x"}}, "", nil)
	if err != nil || !maps.Equal(r.FrontendAttrs, map[string]string{"image-resolve-mode": "local", "hostname": hostnameOn("web")}) {
		t.Errorf("%v %v", r, err)
	}
}

func TestBadRequests(t *testing.T) {
	for want, b := range map[string]wire.Build{
		"multiple outputs not supported":                 {Outputs: make([]wire.Output, 2)},
		`network mode "web" not supported by buildkit`:   {Network: "web", Trace: true},
		"invalid host odd":                               {Hosts: []string{"odd"}},
		"unable to derive the IP value for host-gateway": {Hosts: []string{"x:host-gateway"}},
		"build tag cannot contain a digest":              {Tags: []string{"x@sha256:" + strings.Repeat("0", 64)}},
		"invalid reference format: repository name":      {Tags: []string{"UPPER"}},
	} {
		if _, err := solveRequest(b, "", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", b, err, want)
		}
	}
	if _, err := parseBuild(`{"Remote":"upload-request"}`); err == nil {
		t.Error("a context by another request is accepted")
	}
}

func TestImageAttributes(t *testing.T) {
	asked := map[string]string{"name": "app", "push": "true"}
	got, err := imageAttributes(asked, "anchor")
	want := map[string]string{"name": "docker.io/library/app:latest", "push": "true", "unpack": "true", "dangling-name-prefix": "anchor", "danging-name-empty-only": "true"}
	if err != nil || !maps.Equal(got, want) || asked["name"] != "app" {
		t.Errorf("%v %v, want %v; asked %v", got, err, want, asked)
	}
	for text, want := range map[string]bool{"": true, "true": true, "1": true, "false": false, "0": false, "F": false} {
		if got := isStored(map[string]string{"store": text}); got != want {
			t.Errorf("store=%s: stored %t", text, got)
		}
	}
	made := madeImage(map[string]string{"image.name": "docker.io/library/app:latest,anchor@sha256:1", "containerimage.digest": "sha256:2", "containerimage.config.digest": "sha256:3"})
	if made.ID != "sha256:3" || !reflect.DeepEqual(made.Names, []string{"docker.io/library/app:latest"}) {
		t.Errorf("made %+v", made)
	}
}

// FuzzBuild expects that whatever the options are, they are refused or make a request.
func FuzzBuild(f *testing.F) {
	f.Add(`{"Hosts":["a:b"],"Tags":["x"],"Outputs":[{"Type":"moby"}]}`)
	f.Add(`{"Args":{"":""},"Network":"host"}`)
	f.Fuzz(func(t *testing.T, text string) {
		b, err := parseBuild(text)
		if err != nil {
			return
		}
		if r, err := solveRequest(b, "http://x", nil); err == nil && r.FrontendAttrs["context"] != "http://x" {
			t.Errorf("%+v: context %q", b, r.FrontendAttrs["context"])
		}
	})
}
