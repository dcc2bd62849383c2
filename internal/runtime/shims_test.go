package runtime

import (
	"bytes"
	"os"
	"path/filepath"
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

// TestLongCommandLines: the arguments of a container's process may have megabytes;
// a shim's have not.
func TestLongCommandLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cmdline")
	for size, good := range map[int]bool{100: true, maxCommand: true, maxCommand + 1: false, 8 << 20: false} {
		if err := os.WriteFile(file, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
			t.Fatal(err)
		}
		line, err := readCommand(file)
		if good != (err == nil) || len(line) > maxCommand+1 {
			t.Errorf("%d bytes: %d read, %v", size, len(line), err)
		}
	}
}
