package linkspan_test

import (
	"os"
	"path/filepath"
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

// TestEveryLaneIsExplained: docs/testing.md has a row for each target of the Makefile by which something is tested, and none
// for what is no target.
func TestEveryLaneIsExplained(t *testing.T) {
	others := []string{"help", "deps", "build", "demo", "install", "uninstall", "package", "clean"}
	var lanes, explained []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z]+):.*## `).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		if !slices.Contains(others, m[1]) {
			lanes = append(lanes, m[1])
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `make ([a-z]+)` \\|").FindAllStringSubmatch(read(t, "docs/testing.md"), -1) {
		explained = append(explained, m[1])
	}
	slices.Sort(lanes)
	slices.Sort(explained)
	if len(lanes) < 10 || !slices.Equal(lanes, explained) {
		t.Errorf("lanes of the Makefile:      %v\nlanes of docs/testing.md: %v", lanes, explained)
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

// TestGuidesLeadSomewhere: every link of the README and of docs to a file, and to a heading of it, leads somewhere.
func TestGuidesLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	for _, guide := range guides(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, guide), -1) {
			to := guide
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(guide), m[1])
			}
			if !exists(to) {
				t.Errorf("%s leads to %s, which is not there", guide, to)
				continue
			}
			var anchors []string
			if m[2] != "" {
				for _, h := range heading.FindAllStringSubmatch(read(t, to), -1) {
					anchors = append(anchors, strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
				}
				if !slices.Contains(anchors, m[2]) {
					t.Errorf("%s leads to #%s of %s, which has %v", guide, m[2], to, anchors)
				}
			}
		}
	}
}

// TestGuidesAreShown: what a guide says that it is shown by is a story or a test; and the stories of a recipe have its words that are settings, so that somebody does play it.
func TestGuidesAreShown(t *testing.T) {
	shown := regexp.MustCompile(`(?m)^Shown by (.*)$|\([Ss]tor(?:y|ies) (.*?)[;)]|\| ([^|]*) \|$`)
	name := regexp.MustCompile("`([A-Za-z-]+)`")
	setting := regexp.MustCompile(`--[a-z0-9-]+|com\.[a-z0-9._]+`)
	for _, guide := range []string{"docs/networks.md", "docs/troubleshooting.md", "docs/from-docker.md", "docs/failures.md"} {
		for _, part := range regexp.MustCompile(`(?m)^##`).Split(read(t, guide), -1) {
			played := ""
			for _, m := range shown.FindAllStringSubmatch(part, -1) {
				for _, n := range name.FindAllStringSubmatch(m[1]+m[2]+onlyOf(guide == "docs/failures.md", m[3]), -1) {
					if story := "lab/testdata/stories/" + n[1] + ".txtar"; exists(story) {
						played += read(t, story)
					} else if where, ok := testOf(t, n[1]); ok {
						played += read(t, where)
					} else {
						t.Errorf("%s: %s is neither a story nor a test", guide, n[1])
					}
				}
			}
			if guide != "docs/networks.md" || strings.Contains(part, "no story plays it") {
				continue
			}
			for _, line := range regexp.MustCompile(`(?m)^    (?:\w*[$#]) .*$`).FindAllString(part, -1) {
				for _, s := range setting.FindAllString(line, -1) {
					if !strings.Contains(played, s) {
						t.Errorf("%s: nobody who shows it says %s: %s", guide, s, line)
					}
				}
			}
		}
	}
}

func onlyOf(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}

// guides are the README and the pages of docs.
func guides(t *testing.T) []string {
	t.Helper()
	out, err := filepath.Glob("docs/*.md")
	if err != nil || len(out) < 7 {
		t.Fatal(out, err)
	}
	return append(out, "README.md")
}

// testOf is the file that has a test.
func testOf(t *testing.T, name string) (file string, ok bool) {
	t.Helper()
	if !strings.HasPrefix(name, "Test") {
		return "", false
	}
	if testFiles == nil {
		testFiles = map[string]string{}
		function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
		for _, top := range []string{"cmd", "internal", "lab"} {
			if err := filepath.WalkDir(top, func(path string, _ os.DirEntry, err error) error {
				if err == nil && strings.HasSuffix(path, "_test.go") {
					for _, m := range function.FindAllStringSubmatch(read(t, path), -1) {
						testFiles[m[1]] = path
					}
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	file, ok = testFiles[name]
	return file, ok
}

var testFiles map[string]string // where each test is

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
