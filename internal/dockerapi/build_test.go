package dockerapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// fakeBuilder stands for the builder: it answers with what it was sent.
type fakeBuilder struct {
	err    error
	asked  []string
	pruned wire.Prune
	cache  []wire.Record
}

func (f *fakeBuilder) Forward(w http.ResponseWriter, r *http.Request, path string, query url.Values) error {
	f.asked = append(f.asked, path+" "+query.Get("options"))
	if f.err != nil {
		return f.err
	}
	_, err := io.Copy(w, r.Body)
	return err
}

func (f *fakeBuilder) Usage(context.Context) ([]wire.Record, error) { return f.cache, f.err }

func (f *fakeBuilder) Prune(_ context.Context, p wire.Prune) (wire.Pruned, error) {
	f.pruned = p
	return wire.Pruned{IDs: []string{"one"}, Bytes: 7}, f.err
}

func TestBuilds(t *testing.T) {
	b := newBench(t)
	server := httptest.NewServer(b)
	defer server.Close()
	got, err := http.Post(server.URL+"/v1.50/build?t=app&nocache=1", "application/x-tar", strings.NewReader("files"))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if text, err := io.ReadAll(got.Body); err != nil || got.StatusCode != 200 || string(text) != "files" {
		t.Errorf("build: %d %q %v", got.StatusCode, text, err)
	}
	if len(b.builds.asked) != 1 || b.builds.asked[0] != `/build {"Tags":["app"],"NoCache":true}` {
		t.Errorf("asked %q", b.builds.asked)
	}
	b.want(t, 400, "no upgrade proto in request", "POST", "/session")
	b.want(t, 400, "build ID not provided", "POST", "/build/cancel")
	b.want(t, 204, "", "POST", "/build/cancel?id=x")
	if h := b.ask("GET", "/_ping", "").Header().Get("Builder-Version"); h != "2" {
		t.Errorf("builder %q", h)
	}
}

// TestBuildRefused: what is left of the context is not read as the next request.
func TestBuildRefused(t *testing.T) {
	b := newBench(t)
	b.builds.err = model.Errorf(model.Invalid, "no such network")
	server := httptest.NewServer(b)
	defer server.Close()
	got, err := http.Post(server.URL+"/v1.50/build", "application/x-tar", strings.NewReader("files"))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if got.StatusCode != 400 || !got.Close {
		t.Errorf("%s, and the connection is kept: %t", got.Status, !got.Close)
	}
}

func TestBuildCache(t *testing.T) {
	b := newBench(t)
	b.want(t, 200, `{"CachesDeleted":["one"],"SpaceReclaimed":7}`, "POST", `/build/prune?all=1&filters={"type":["regular"]}`)
	if !b.builds.pruned.All || len(b.builds.pruned.Filters) != 1 {
		t.Errorf("pruned %+v", b.builds.pruned)
	}
	if len(b.published) != 1 || b.published[0].Type != "builder" || b.published[0].Actor.Attributes["reclaimed"] != "7" {
		t.Errorf("said %+v", b.published)
	}
	b.builds.cache = []wire.Record{{ID: "r1", Size: 5, Created: time.Unix(0, 0)}, {ID: "r2", Size: 3, InUse: true}, {ID: "r3", Size: 1, Shared: true}}
	b.want(t, 200, `"BuildCacheUsage":{"ActiveCount":1,"Reclaimable":5,"TotalCount":3,"TotalSize":9}`, "GET", "/v1.53/system/df?type=build-cache")
	b.want(t, 200, `"BuildCache":[{"ID":"r1"`, "GET", "/v1.51/system/df")
	b.builds.cache, b.builds.err = nil, model.Errorf(model.Unavailable, "the builder does not start")
	b.want(t, 200, `"BuildCache":`, "GET", "/v1.51/system/df") // the rest is told
	b.want(t, 503, "the builder does not start", "GET", "/v1.53/system/df?type=build-cache")
}
