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

// named are paths in what the documents say: `internal/ops`, `kernel/nft/border.go`,
// `docs/adr`.
var named = regexp.MustCompile("`([a-z][a-z0-9_.-]*(?:/[a-zA-Z0-9_.*-]+)+)/?`")

// TestDocumentsNameWhatIsThere: every path that the documents for developers name
// exists, from the root or below internal/.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	for _, doc := range []string{"ARCHITECTURE.md", "CONTRIBUTING.md"} {
		paths := named.FindAllStringSubmatch(read(t, doc), -1)
		if len(paths) < 2 {
			t.Errorf("%s names %d paths: the test does not see them", doc, len(paths))
		}
		for _, m := range paths {
			path := strings.TrimSuffix(m[1], "/*")
			if !exists(path) && !exists("internal/"+path) {
				t.Errorf("%s names %s, which is not there", doc, m[1])
			}
		}
	}
}

// TestTheTreeIsWhole: ARCHITECTURE's tree has every folder of internal/, and no other.
func TestTheTreeIsWhole(t *testing.T) {
	text := read(t, "ARCHITECTURE.md")
	_, text, _ = strings.Cut(text, "    internal/\n")
	text, _, found := strings.Cut(text, "\n\n")
	if !found {
		t.Fatal("ARCHITECTURE.md has no tree of internal/")
	}
	var drawn []string
	for _, m := range regexp.MustCompile(`(?m)^ {6,8}([a-z]+)/`).FindAllStringSubmatch(text, -1) {
		drawn = append(drawn, m[1])
	}
	folders, err := os.ReadDir("internal")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if f.IsDir() && !slices.Contains(drawn, f.Name()) {
			t.Errorf("internal/%s is not in ARCHITECTURE's tree", f.Name())
		}
	}
	for _, name := range drawn {
		if !exists("internal/" + name) {
			t.Errorf("ARCHITECTURE's tree has %s/, which is not there", name)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
