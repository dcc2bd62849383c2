package imagestore

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
)

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestChanges(t *testing.T) {
	got, err := applyChanges(dockerspec.DockerOCIImageConfig{}, []string{`CMD ["a","b"]`, "entrypoint run it", `ENV A=1 B="two words" A=3`, "ENV OLD some value",
		"EXPOSE 80 53/udp", "VOLUME /a /b", `LABEL x="y z" q=1`, "USER web", "WORKDIR /srv", "STOPSIGNAL SIGINT",
		"HEALTHCHECK --interval=5s --retries=2  CMD curl -f http://localhost"})
	if err != nil {
		t.Fatal(err)
	}
	set := struct{}{}
	same(t, "health check", got.Healthcheck, &dockerspec.HealthcheckConfig{
		Test: []string{"CMD-SHELL", "curl -f http://localhost"}, Interval: 5 * time.Second, Retries: 2})
	same(t, "configuration", got.ImageConfig, ocispec.ImageConfig{
		Cmd: []string{"a", "b"}, Entrypoint: []string{"/bin/sh", "-c", "run it"},
		Env:          []string{"A=3", "B=two words", "OLD=some value"},
		ExposedPorts: map[string]struct{}{"80/tcp": set, "53/udp": set},
		Volumes:      map[string]struct{}{"/a": set, "/b": set},
		Labels:       map[string]string{"x": "y z", "q": "1"},
		User:         "web", WorkingDir: "/srv", StopSignal: "SIGINT",
	})
	for _, bad := range []string{"", "RUN x", "ENV", "ENV A", `ENV A="open`, "LABEL a=1 b",
		"HEALTHCHECK", "HEALTHCHECK CMD", "HEALTHCHECK NONE x", "HEALTHCHECK TCP 80", "HEALTHCHECK --interval=1us CMD x",
		"HEALTHCHECK --interval=soon CMD x", "HEALTHCHECK --retries=-1 CMD x", "HEALTHCHECK --retries=x CMD x", "HEALTHCHECK --odd CMD x"} {
		if _, err := applyChanges(dockerspec.DockerOCIImageConfig{}, []string{bad}); model.KindOf(err) != model.Invalid {
			t.Errorf("%q: %v, want Invalid", bad, err)
		}
	}
}

func FuzzChanges(f *testing.F) {
	f.Add(`ENV A="b c" D=e\ f`)
	f.Add(`LABEL '`)
	f.Add(`HEALTHCHECK --interval=1s --retries=3 CMD ["a"]`)
	f.Fuzz(func(t *testing.T, line string) {
		if _, err := applyChanges(dockerspec.DockerOCIImageConfig{}, []string{line}); err != nil && model.KindOf(err) != model.Invalid {
			t.Fatalf("%q: %v", line, err)
		}
	})
}
