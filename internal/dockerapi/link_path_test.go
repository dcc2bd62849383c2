package dockerapi

import (
	"net/url"
	"strings"
	"testing"
)

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
