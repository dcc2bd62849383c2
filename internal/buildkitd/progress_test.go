package buildkitd

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
)

// show plays a build and returns what a client reads.
func show(t *testing.T, b wire.Build, play func(*progress) error) string {
	t.Helper()
	w := httptest.NewRecorder()
	if err := play(newProgress(w, b)); err != nil {
		t.Fatal(err)
	}
	return w.Body.String()
}

func played(p *progress) error {
	now := timestamppb.Now()
	for _, r := range []*controlapi.StatusResponse{
		{Vertexes: []*controlapi.Vertex{{Digest: "a", Name: "FROM busybox", Started: now, Cached: true}, {Digest: "later", Name: "not yet"}}},
		{Vertexes: []*controlapi.Vertex{{Digest: "b", Name: "RUN echo", Started: now}}, Logs: []*controlapi.VertexLog{{Vertex: "b", Msg: []byte("one\ntwo")}}},
		{Vertexes: []*controlapi.Vertex{{Digest: "b", Name: "RUN echo", Started: now, Error: "exit 1"}}, Warnings: []*controlapi.VertexWarning{{Short: []byte("beware")}}},
	} {
		if err := p.status(r); err != nil {
			return err
		}
	}
	return p.done(map[string]string{"containerimage.digest": "sha256:ff", "containerimage.config.digest": "sha256:0123456789abcdef"})
}

func TestProgress(t *testing.T) {
	text := show(t, wire.Build{Tags: []string{"app"}}, played)
	want := `{"stream":"#1 FROM busybox\n#1 CACHED\n"}
{"stream":"#2 RUN echo\n#2 one\n#2 two\n"}
{"stream":"#2 ERROR: exit 1\nWARNING: beware\n"}
{"aux":{"ID":"sha256:0123456789abcdef"}}
{"stream":"Successfully built 0123456789ab\nSuccessfully tagged app:latest\n"}
`
	if text != want {
		t.Errorf("%s\nwant %s", text, want)
	}
	if text := show(t, wire.Build{Quiet: true}, played); text != "{\"stream\":\"sha256:0123456789abcdef\\n\"}\n" {
		t.Errorf("quiet: %s", text)
	}
	if text := show(t, wire.Build{Trace: true}, played); strings.Count(text, `"id":"moby.buildkit.trace"`) != 3 || !strings.HasSuffix(text, "{\"id\":\"moby.image.id\",\"aux\":{\"ID\":\"sha256:0123456789abcdef\"}}\n") {
		t.Errorf("trace: %s", text)
	}
}

func TestFailure(t *testing.T) {
	text := show(t, wire.Build{}, func(p *progress) error {
		p.fail(errors.New(`process "/bin/sh -c exit 7" did not complete successfully: exit code: 7`))
		return nil
	})
	if want := `{"errorDetail":{"code":7,"message":"process \"/bin/sh -c exit 7\" did not complete successfully: exit code: 7"},"error":"process \"/bin/sh -c exit 7\" did not complete successfully: exit code: 7"}`; text != want+"\n" {
		t.Errorf("%s, want %s", text, want)
	}
	for text, want := range map[string]int{
		"no process": 0, `process "x" did not complete successfully: exit code: 137: context canceled`: 137,
		`process "echo did not complete successfully: exit code: 5" did not complete successfully: exit code: 6`: 6, "did not complete successfully: exit code: 4294967295": 0,
	} {
		if code := exitCode(text); code != want {
			t.Errorf("%s: %d, want %d", text, code, want)
		}
	}
}
