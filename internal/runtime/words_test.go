package runtime

import (
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/google/go-cmp/cmp"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
)

func TestNormalize(t *testing.T) {
	sum := "sha256:" + strings.Repeat("a", 64)
	for ref, want := range map[string][2]string{
		"busybox":                   {"docker.io/library/busybox:latest", "busybox:latest"},
		"me/app:1":                  {"docker.io/me/app:1", "me/app:1"},
		"reg.example:5000/a/b":      {"reg.example:5000/a/b:latest", "reg.example:5000/a/b:latest"},
		"busybox:1@" + sum:          {"docker.io/library/busybox@" + sum, "busybox@" + sum},
		"index.docker.io/library/a": {"docker.io/library/a:latest", "a:latest"},
	} {
		got, err := normalize(ref)
		if err != nil || got != want[0] || familiar(got) != want[1] {
			t.Errorf("%s: %s (%s) %v, want %v", ref, got, familiar(got), err, want)
		}
	}
	for _, bad := range []string{"", "UPPER", "a b", "a:b:c"} {
		if _, err := normalize(bad); model.KindOf(err) != model.Invalid {
			t.Errorf("%q: %v, want Invalid", bad, err)
		}
	}
	if isKeeper("docker.io/library/keeper:1") || !isKeeper(keeperName(digest.FromString("x"))) {
		t.Error("keepers and tags are confused")
	}
	for annotation, want := range map[string]string{"latest": "", "a/b:1": "docker.io/a/b:1", "a:1": "docker.io/library/a:1", "A:1": ""} {
		if got := layoutName(annotation); got != want {
			t.Errorf("layout name %q: %q, want %q", annotation, got, want)
		}
	}
}

func entry(id, name string) imageEntry {
	return imageEntry{
		imageFact: imageFact{image: model.Image{ID: model.ImageID("sha256:" + id + strings.Repeat("0", 64-len(id)))}},
		records: []images.Image{{Name: keeperName(digest.FromString(id)), Target: ocispec.Descriptor{Digest: digest.FromString(id)}},
			{Name: name, Target: ocispec.Descriptor{Digest: digest.FromString(id)}}},
	}
}

func TestFindImage(t *testing.T) {
	all := []imageEntry{entry("abc1", "docker.io/library/web:latest"), entry("abd2", "docker.io/library/abc1:latest"),
		entry("ff00", "reg.example/x:2")}
	for ref, want := range map[string]string{
		"web": "abc1", "web:latest": "abc1", "docker.io/library/web": "abc1", "reg.example/x:2": "ff00",
		"ff": "ff00", "sha256:abd": "abd2", "abc1": "abd2", // a name goes before an ID
		string(all[2].image.ID):                                "ff00",
		strings.TrimPrefix(string(all[0].image.ID), "sha256:"): "abc1",
		"web@" + digest.FromString("abc1").String():            "abc1",
	} {
		e, _, err := findImage(all, ref)
		if err != nil || !strings.HasPrefix(string(e.image.ID), "sha256:"+want) {
			t.Errorf("%s: %s %v, want %s", ref, e.image.ID, err, want)
		}
	}
	for ref, want := range map[string]struct {
		kind model.Kind
		text string
	}{
		"nosuch":                            {model.NotFound, "No such image: nosuch:latest"},
		"x":                                 {model.NotFound, "No such image: x:latest"},
		"ab":                                {model.Conflict, "ambiguous reference"},
		"0000":                              {model.NotFound, "No such image: 0000"},
		"a b":                               {model.Invalid, "invalid reference format"},
		"sha256:" + strings.Repeat("1", 64): {model.NotFound, "No such image: sha256:1111"},
	} {
		_, _, err := findImage(all, ref)
		if model.KindOf(err) != want.kind || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v, want %s", ref, err, want.text)
		}
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestChanges(t *testing.T) {
	got, err := applyChanges([]string{`CMD ["a","b"]`, "entrypoint run it", `ENV A=1 B="two words" A=3`, "ENV OLD some value",
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
		if _, err := applyChanges([]string{bad}); model.KindOf(err) != model.Invalid {
			t.Errorf("%q: %v, want Invalid", bad, err)
		}
	}
}

func FuzzChanges(f *testing.F) {
	f.Add(`ENV A="b c" D=e\ f`)
	f.Add(`LABEL '`)
	f.Add(`HEALTHCHECK --interval=1s --retries=3 CMD ["a"]`)
	f.Fuzz(func(t *testing.T, line string) {
		if _, err := applyChanges([]string{line}); err != nil && model.KindOf(err) != model.Invalid {
			t.Fatalf("%q: %v", line, err)
		}
	})
}

func TestOOMCount(t *testing.T) {
	for text, want := range map[string]int{
		"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n": 3,
		"low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\n":     0,
		"": 0, "oom_kill x\n": 0,
	} {
		if got := oomCount(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
