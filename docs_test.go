package linkspan_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryDependencyHasAReason compares go.mod with docs/dependencies.md.
func TestEveryDependencyHasAReason(t *testing.T) {
	mod := read(t, "go.mod")
	var required []string
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(mod, -1) {
		required = append(required, m[1])
	}
	var explained []string
	for _, m := range regexp.MustCompile(`(?m)^\| (\S+\.\S+/\S+) \|`).FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		explained = append(explained, m[1])
	}
	if len(required) < 10 {
		t.Fatalf("only %d direct dependencies found in go.mod", len(required))
	}
	for _, m := range required {
		if !slices.Contains(explained, m) {
			t.Errorf("%s is required and has no reason in docs/dependencies.md", m)
		}
	}
	for _, m := range explained {
		if !slices.Contains(required, m) {
			t.Errorf("%s is explained and not required", m)
		}
	}
}

// TestReadmeShowsTheWayIn: the two commands that do everything are in it.
func TestReadmeShowsTheWayIn(t *testing.T) {
	text := read(t, "README.md")
	for _, command := range []string{"sudo ./run demo", "sudo ./run test"} {
		if !strings.Contains(text, command) {
			t.Errorf("README.md does not show %q", command)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
