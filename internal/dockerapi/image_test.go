package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/dockerapi/images"
	"github.com/linkspan/linkspan/internal/model"
)

func TestListImages(t *testing.T) {
	b := newBench(t)
	b.images.images = append(b.images.images, model.Image{ID: "sha256:2", Created: time.Unix(100, 0)},
		model.Image{ID: "sha256:3", Tags: []string{"host:5000/a/b:1"}, Config: model.ImageConfig{Labels: map[string]string{"a": "b"}}, Created: time.Unix(200, 0)})
	for filters, want := range map[string]string{
		``:                                  "1 2 3",
		`{"reference":["busybox"]}`:         "1",
		`{"reference":["busy*:latest"]}`:    "1",
		`{"reference":["host:5000/a/b"]}`:   "3",
		`{"reference":["b"]}`:               "",
		`{"dangling":["true"]}`:             "2",
		`{"dangling":["false"]}`:            "1 3",
		`{"label":["a=b"]}`:                 "3",
		`{"label!":["a=b"]}`:                "1 2",
		`{"since":["sha256:2"]}`:            "3",
		`{"before":["host:5000/a/b:1"]}`:    "1 2",
		`{"until":["150"],"label!":["zz"]}`: "1 2",
	} {
		w := b.ask("GET", "/images/json?filters="+url.QueryEscape(filters), "")
		var got []string
		for _, part := range strings.Split(w.Body.String(), `"Id":"sha256:`)[1:] {
			got = append(got, part[:1])
		}
		if w.Code != 200 || strings.Join(got, " ") != want {
			t.Errorf("%s: %d %v, want %s: %s", filters, w.Code, got, want, w.Body)
		}
	}
	b.want(t, 400, "invalid filter 'odd'", "GET", "/images/json?filters="+url.QueryEscape(`{"odd":["1"]}`))
	b.want(t, 404, "No such image: gone", "GET", "/images/json?filters="+url.QueryEscape(`{"since":["gone"]}`))
	b.want(t, 200, `"VirtualSize":7`, "GET", "/v1.43/images/json")
	b.users = map[model.ContainerID]bool{"c": true}
	b.want(t, 200, `"Containers":1`, "GET", "/v1.51/images/json")
	b.want(t, 200, `"Containers":-1`, "GET", "/v1.50/images/json")
	b.images.images[0].Tags = []string{"alpine:latest", "busybox:latest"} // one image, two names: the one asked for is shown
	b.want(t, 200, `"RepoTags":["busybox:latest"]`, "GET", "/v1.40/images/json?filter=busybox")
}

func TestImageRoutes(t *testing.T) {
	b := newBench(t)
	b.images.images[0].Tags = []string{"host:5000/a/b:1"}
	b.images.images[0].Config = model.ImageConfig{Cmd: []string{"sh"}, ExposedPorts: []string{"80/tcp"}}
	b.images.images[0].History = []model.ImageHistory{{CreatedBy: "first"}, {CreatedBy: "second"}}
	b.want(t, 200, `"Cmd":["sh"]`, "GET", "/images/host:5000/a/b:1/json")
	b.want(t, 200, `"ExposedPorts":{"80/tcp":{}}`, "GET", "/images/host:5000%2Fa%2Fb:1/json")
	b.want(t, 200, `"CreatedBy":"second","Id":"sha256:1"`, "GET", "/images/host:5000/a/b:1/history")
	b.want(t, 200, `tar of host:5000/a/b:1`, "GET", "/images/host:5000/a/b:1/get")
	b.want(t, 200, `tar of host:5000/a/b:1 other`, "GET", "/images/get?names=host:5000/a/b:1&names=other")
	b.want(t, 400, `no image is named`, "GET", "/images/get")
	b.want(t, 404, `No such image: x/y:z`, "GET", "/images/x/y:z/get")
	b.want(t, 404, `No such image: gone`, "GET", "/images/gone/json")
	b.want(t, 404, `page not found`, "GET", "/images/gone/nothing")
	b.want(t, 201, ``, "POST", "/images/host:5000/a/b:1/tag?repo=new/name&tag=v2")
	if b.images.tag != "host:5000/a/b:1 as new/name:v2" {
		t.Error(b.images.tag)
	}
	b.want(t, 200, `does not exist locally with the tag: a/b`, "POST", "/images/a/b/push")
	b.want(t, 200, `[{"Untagged":"host:5000/a/b:1"},{"Deleted":"sha256:1"}]`, "DELETE", "/images/host:5000/a/b:1")
	b.want(t, 404, `No such image`, "DELETE", "/images/gone")
	b.want(t, 400, `image name cannot be blank`, "DELETE", "/images/")
	b.images.err = errors.New("disk full")
	b.want(t, 500, `disk full`, "GET", "/images/host:5000/a/b:1/json")
}

func TestRemoveImageInUse(t *testing.T) {
	stopped, running := map[model.ContainerID]bool{"c1": false}, map[model.ContainerID]bool{"c1": true}
	for _, c := range []struct {
		ref    string
		users  map[model.ContainerID]bool
		force  bool
		status int
		text   string
	}{
		{"busybox", nil, false, 200, ""},
		{"busybox", stopped, false, 409, `conflict: unable to remove repository reference \"busybox\" (must force) - container c1 is using its referenced image 1`},
		{"busybox", stopped, true, 200, ""},
		{"busybox", running, true, 409, `conflict: unable to delete 1 (cannot be forced) - image is being used by running container c1`},
		{"sha256:1", stopped, false, 409, `conflict: unable to delete 1 (must be forced) - image is being used by stopped container c1`},
		{"sha256:1", stopped, true, 200, ""},
		{"sha256:1", running, true, 409, `conflict: unable to delete 1 (cannot be forced) - image is being used by running container c1`},
	} {
		b := newBench(t)
		b.users = c.users
		b.want(t, c.status, c.text, "DELETE", fmt.Sprintf("/images/%s?force=%t", c.ref, c.force))
	}
}

func TestLoadAndImport(t *testing.T) {
	b := newBench(t)
	send := func(path, body string) string {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-tar")
		b.ServeHTTP(w, r)
		return fmt.Sprint(w.Code, " ", w.Body)
	}
	b.images.images = append(b.images.images, model.Image{ID: "sha256:2"})
	if got := send("/images/load?quiet=1", "an archive"); got != "200 {\"stream\":\"Loaded image: busybox:latest\\n\"}\n{\"stream\":\"Loaded image ID: sha256:2\\n\"}\n" || b.images.loaded != "an archive" {
		t.Errorf("load: %q %q", got, b.images.loaded)
	}
	if got := send("/images/create?fromSrc=-&repo=tools&tag=1&changes=CMD+sh&changes=ENV+A=b", "files"); got != "200 {\"status\":\"sha256:9\"}\n" ||
		b.images.tag != "tools:1" || b.images.loaded != "files" || fmt.Sprint(b.images.change) != "[CMD sh ENV A=b]" {
		t.Errorf("import: %q %+v", got, b.images)
	}
	b.images.err = model.Errorf(model.Invalid, "archive/tar: invalid tar header")
	if got := send("/images/load", "junk"); got != `400 {"message":"archive/tar: invalid tar header"}`+"\n" {
		t.Errorf("junk: %q", got)
	}
	b.want(t, 400, "failed to parse platform", "POST", "/images/load?platform=arm")
	b.want(t, 501, `importing from a URL is not supported`, "POST", "/images/create?fromSrc=http://x/")
	b.want(t, 400, `neither fromImage nor fromSrc`, "POST", "/images/create")
}

func TestPruneImages(t *testing.T) {
	b := newBench(t)
	b.want(t, 200, `{"ImagesDeleted":null,"SpaceReclaimed":0}`, "POST", "/images/prune")
	b.images.images = append(b.images.images, model.Image{ID: "sha256:2", Size: 5})
	b.want(t, 200, `{"ImagesDeleted":[{"Untagged":"sha256:2"},{"Deleted":"sha256:1"}],"SpaceReclaimed":5}`, "POST", "/images/prune?filters="+url.QueryEscape(`{"dangling":["true"]}`))
	b.want(t, 200, `"SpaceReclaimed":12`, "POST", "/images/prune?filters="+url.QueryEscape(`{"dangling":["false"]}`))
	b.users = map[model.ContainerID]bool{"c": false}
	b.want(t, 200, `"SpaceReclaimed":0`, "POST", "/images/prune?filters="+url.QueryEscape(`{"dangling":["false"]}`))
	b.want(t, 400, `invalid filter 'name'`, "POST", "/images/prune?filters="+url.QueryEscape(`{"name":["x"]}`))
}

// TestSaveBrokenOff: an archive that ends early must not look whole.
func TestSaveBrokenOff(t *testing.T) {
	b := newBench(t)
	b.with(func(o *Options) { o.Transfer = brokenTransfer{o.Transfer} })
	server := httptest.NewServer(b)
	defer server.Close()
	answer, err := http.Get(server.URL + "/images/busybox/get")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if n, err := answer.Body.Read(make([]byte, 100)); n != 4 {
		t.Fatalf("%d %v", n, err)
	}
	if _, err := io.ReadAll(answer.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ended with %v", err)
	}
}

// brokenTransfer fails in the middle of an archive.
type brokenTransfer struct{ images.Transfer }

func (brokenTransfer) Save(_ context.Context, _, _ []string, archive io.Writer) error {
	if _, err := io.WriteString(archive, "half"); err != nil {
		return err
	}
	return errors.New("disk on fire")
}

// TestSaveIsTold: of each image that went into an archive, once it is complete.
func TestSaveIsTold(t *testing.T) {
	b := newBench(t)
	saved := func() (out []string) {
		for _, e := range b.published {
			if e.Action == "save" {
				out = append(out, e.Actor.ID+" "+e.Actor.Attributes["name"])
			}
		}
		return out
	}
	b.want(t, 404, `No such image`, "GET", "/images/x:y/get")
	if got := saved(); len(got) != 0 {
		t.Errorf("of a failure: %v", got)
	}
	b.want(t, 200, `tar of busybox:latest`, "GET", "/images/busybox:latest/get")
	if got := fmt.Sprint(saved()); got != "[sha256:1 busybox:latest]" {
		t.Errorf("events %s", got)
	}
}

// TestInspectSize: sizes are measured if they are asked for.
func TestInspectSize(t *testing.T) {
	b := newBench(t)
	b.want(t, 200, `"SizeRw":5`, "GET", "/containers/c1/json?size=1")
	b.want(t, 200, `"SizeRootFs":12`, "GET", "/containers/c1/json?size=true")
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest("GET", "/containers/c1/json", nil))
	if strings.Contains(w.Body.String(), "SizeRw") {
		t.Errorf("sizes that nobody asked for: %s", w.Body)
	}
}
