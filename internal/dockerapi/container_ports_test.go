package dockerapi

import (
	"net/url"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// TestEmptyPortBindings: a port with an empty list of bindings is published at any
// port of the host, as ever; the newer versions say that this is about to end.
func TestEmptyPortBindings(t *testing.T) {
	const warning = "Following container port(s) have an empty list of port-bindings: 80/tcp, 81/udp. Such bindings will be discarded in a future version."
	web, dns, own := network.MustParsePort("80/tcp"), network.MustParsePort("81/udp"), network.MustParsePort("82/tcp")
	for v, want := range map[version]string{24: "", 43: "", 51: "", 52: warning, newestVersion: warning} {
		given := network.PortMap{web: {}, dns: nil, own: {{HostPort: "8082"}}}
		body := createBody{}
		body.Config, body.HostConfig = &container.Config{}, &container.HostConfig{PortBindings: given}
		out, warnings, err := translateCreate(v, body)
		if err != nil {
			t.Fatal(v, err)
		}
		got := out.Host.PortBindings
		for _, port := range []network.Port{web, dns} {
			if len(got[port]) != 1 || got[port][0] != (network.PortBinding{}) {
				t.Errorf("%s: %s leads to %v", v, port, got[port])
			}
		}
		if len(got[own]) != 1 || got[own][0].HostPort != "8082" {
			t.Errorf("%s: %v", v, got[own])
		}
		if said := append(warnings, ""); said[0] != want || len(said) > 2 {
			t.Errorf("%s: warnings %q, want %q", v, warnings, want)
		}
	}
}

// TestNamesOfLinksInPaths: a container may be named by the link that leads to it.
func TestNamesOfLinksInPaths(t *testing.T) {
	for path, call := range map[string]string{
		"/containers/app2/mysql/json":        "inspect app2/mysql",
		"/v1.44/containers/app2/mysql/json":  "inspect app2/mysql",
		"/containers//app2/mysql/json":       "inspect app2/mysql",
		"/containers/app2%2Fmysql/json":      "inspect app2/mysql",
		"/containers/app%202/my%20sql/json":  "inspect app 2/my sql",
		"/containers/c1/json":                "inspect c1",
		"/containers/json/json":              "inspect json",
		"/v1.44/containers/app2/mysql/top":   `top app2/mysql ["-ef"]`,
		"/containers/app2/mysql/top?x=a%2Fb": `top app2/mysql ["-ef"]`,
	} {
		b := newBench(t)
		b.want(t, 200, "", "GET", path)
		if got := b.noted(); got != call {
			t.Errorf("%s: called %q, want %q", path, got, call)
		}
	}
	b := newBench(t)
	b.want(t, 204, "", "POST", "/containers/app2/mysql/start")
	if got := b.noted(); got != "start app2/mysql" {
		t.Errorf("called %q", got)
	}
	for _, path := range []string{"/containers/a/b/c/json", "/containers/a/b/odd"} {
		b.want(t, 404, `{"message":"page not found"}`, "GET", path)
	}
}

// FuzzLinkInPath: of whatever comes, a path that is taken has three parts, the
// second of which holds the link's name.
func FuzzLinkInPath(f *testing.F) {
	for _, seed := range []string{"/containers/a/b/json", "/containers//a/b/json", "/containers/a%2Fb/c/top", "/containers/%/b/json", "/containers/a/b/c/d", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || !linkInPath(u) {
			return
		}
		parts := strings.SplitN(strings.TrimPrefix(u.EscapedPath(), "/containers/"), "/", 2)
		name, err := url.PathUnescape(parts[0])
		if err != nil || len(parts) != 2 || !strings.Contains(name, "/") {
			t.Fatalf("%q became %q", path, u.EscapedPath())
		}
	})
}
