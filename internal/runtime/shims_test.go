package runtime

import (
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestParseShim(t *testing.T) {
	const address = "/run/linkspan/containerd/containerd.sock"
	id := strings.Repeat("0a", 32)
	serving := []string{"/usr/bin/containerd-shim-runc-v2", "-namespace", "linkspan", "-id", id, "-address", address}
	for _, c := range []struct {
		name  string
		words []string
		want  model.ContainerID
	}{
		{"a shim that serves", serving, model.ContainerID(id)},
		{"one that starts another", append(slices.Clone(serving), "start"), ""},
		{"another namespace", append([]string{serving[0], "-namespace", "moby"}, serving[3:]...), ""},
		{"another containerd", append(slices.Clone(serving[:6]), "/run/containerd/containerd.sock"), ""},
		{"no container", append(slices.Clone(serving[:3]), serving[5:]...), ""},
		{"another program", append([]string{"/usr/bin/containerd"}, serving[1:]...), ""},
		{"a kernel thread", nil, ""},
	} {
		line := []byte(strings.Join(c.words, "\x00") + "\x00")
		if got, ok := parseShim(line, "linkspan", address); got != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %t", c.name, got, ok)
		}
	}
}
