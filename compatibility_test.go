package linkspan_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/linkspan/linkspan/internal/config"
)

var update = flag.Bool("update", false, "write docs/compatibility.md as the code has it")

// claim is a row of docs/compatibility.md: what is claimed of one endpoint or flag, and how or why.
type claim struct{ is, why string }

// What is claimed. What is done in part, with how, and what Docker does not have is written by hand.
const (
	fully  = "yes"
	partly = "partly"
	added  = "added"
	no     = "no"
)

// tables are the page's, by the heading above them, with what the code says.
func tables(t *testing.T) map[string]map[string]claim {
	t.Helper()
	return map[string]map[string]claim{"Endpoints": endpoints(t), "Flags of dockerd": flags(t)}
}

// endpoint is a pattern of a route.
var endpoint = regexp.MustCompile(`^(GET|HEAD|POST|PUT|DELETE) /`)

// endpoints reads the routes of the API in its sources: those that are refused have the words of the refusal beside them.
func endpoints(t *testing.T) map[string]claim {
	t.Helper()
	out := map[string]claim{}
	for _, s := range sources(t) {
		if !within(s.folder, "internal/dockerapi") || within(s.folder, "internal/dockerapi/private") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			pair, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			pattern, ok := quoted(pair.Key)
			if !ok || !endpoint.MatchString(pattern) || strings.HasSuffix(pattern, "{$}") {
				return true
			}
			out[strings.ReplaceAll(pattern, "...}", "}")] = handled(pair.Value)
			return true
		})
	}
	if len(out) < 90 {
		t.Fatalf("only %d endpoints: the test does not see them", len(out))
	}
	return out
}

// handled tells what a handler claims.
func handled(handler ast.Expr) claim {
	if id, ok := handler.(*ast.Ident); ok && id.Name == "managed" {
		return claim{no, "managed plugins are not supported"}
	}
	if call, ok := handler.(*ast.CallExpr); ok {
		if of, ok := call.Fun.(*ast.SelectorExpr); ok && of.Sel.Name == "Unsupported" {
			words, _ := quoted(call.Args[0])
			return claim{no, words}
		}
	}
	return claim{fully, ""}
}

func quoted(e ast.Expr) (string, bool) {
	basic, ok := e.(*ast.BasicLit)
	if !ok || basic.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(basic.Value)
	return text, err == nil
}

// flags are those that have an effect, and dockerd's others, of which the sources say why they have none.
func flags(t *testing.T) map[string]claim {
	t.Helper()
	out := map[string]claim{}
	config.Flags().VisitAll(func(f *pflag.Flag) { out["--"+f.Name] = claim{fully, ""} })
	for _, s := range sources(t) {
		if s.path != "internal/config/foreign.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			row, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			name, c := "", claim{no, "refused"}
			for _, e := range row.Elts {
				pair, ok := e.(*ast.KeyValueExpr)
				if !ok {
					return true
				}
				switch key := pair.Key.(*ast.Ident).Name; key {
				case "name":
					name, _ = quoted(pair.Value)
				case "why":
					why, _ := quoted(pair.Value)
					c = claim{"without effect", why}
				case "same":
					same, _ := quoted(pair.Value.(*ast.CompositeLit).Elts[0])
					c.why = "refused, but for `" + same + "`"
				}
			}
			if name != "" {
				out["--"+name] = c
			}
			return true
		})
	}
	return out
}

// row is one of a table.
var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([a-z ]+) \\| (.*?) ?\\|$")

// TestCompatibilityIsTold: docs/compatibility.md has every endpoint and every flag, and says of each what the code does. What
// it says is done in part, and how, is written by hand and stays.
func TestCompatibilityIsTold(t *testing.T) {
	const page = "docs/compatibility.md"
	var out strings.Builder
	text := read(t, page)
	known := tables(t)
	for i, section := range strings.Split(text, "\n## ") {
		if i > 0 {
			out.WriteString("\n## ")
		}
		heading, _, _ := strings.Cut(section, "\n")
		claims, ok := known[heading]
		if !ok {
			out.WriteString(section)
			continue
		}
		delete(known, heading)
		for _, m := range row.FindAllStringSubmatch(section, -1) {
			if c := claims[m[1]]; (m[2] == partly || m[2] == added) && m[3] != "" && c.is == fully {
				claims[m[1]] = claim{m[2], m[3]}
			}
		}
		head, _, found := strings.Cut(section, "|---|---|---|\n")
		if !found {
			t.Fatalf("%s has no table below %q", page, heading)
		}
		out.WriteString(head + "|---|---|---|\n")
		for _, name := range slices.SortedFunc(maps.Keys(claims), byPath) {
			fmt.Fprintf(&out, "| `%s` | %s | %s |\n", name, claims[name].is, claims[name].why)
		}
	}
	if len(known) > 0 {
		t.Fatalf("%s has no section for %v", page, slices.Collect(maps.Keys(known)))
	}
	want := strings.ReplaceAll(out.String(), " |  |\n", " | |\n")
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != text {
		a, b := strings.Split(text, "\n"), strings.Split(want, "\n")
		for i := range b {
			if i >= len(a) || a[i] != b[i] {
				t.Fatalf("%s is not what the code does: go test . -run Compatibility -update\nline %d: want %q", page, i+1, b[i])
			}
		}
		t.Fatalf("%s has more than the code: go test . -run Compatibility -update", page)
	}
}

// byPath sorts endpoints by what they are about, then by method; flags by name.
func byPath(a, b string) int {
	methodA, pathA, _ := strings.Cut(a, " ")
	methodB, pathB, _ := strings.Cut(b, " ")
	if c := strings.Compare(pathA, pathB); c != 0 {
		return c
	}
	return strings.Compare(methodA, methodB)
}
