package linkspan_test

import (
	"cmp"
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

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/linkspan/linkspan/internal/cli"
	"github.com/linkspan/linkspan/internal/config"
)

var update = flag.Bool("update", false, "write docs/compatibility.md as the code has it")

// claim is a row of docs/compatibility.md: what is claimed of one endpoint or flag, and how or why.
type claim struct{ is, why string }

// What is claimed; "partly" besides, with how.
const (
	fully   = "yes"
	added   = "added" // Docker has no such thing
	no      = "no"
	without = "without effect"
)

// tables are the page's, by the heading above them, with what the code says.
func tables(t *testing.T) map[string]map[string]claim {
	t.Helper()
	out := map[string]map[string]claim{"Endpoints": endpoints(t), "Commands of docker": commands(t), "Flags of dockerd": flags(t)}
	for subject, c := range remarks(t) {
		found := false
		for _, table := range out {
			was, ok := table[subject]
			if !ok {
				continue
			}
			if found = true; was.is != fully {
				t.Errorf("`%s` is said to be %q, and the code says %q already", subject, c.is, was.is)
			}
			table[subject] = c
		}
		if !found {
			t.Errorf("a comment speaks of `%s`, which is no endpoint, command or flag, or another name of a command", subject)
		}
	}
	return out
}

// remark is a comment beside the code that refuses something of Docker's, does it in another way or adds to it:
//
//	//docker:no container create --gpus, container run --gpus: why
//
// What it is about is an endpoint as its route has it, a command under its longer name, its flag, or "dockerd" and a flag.
var remark = regexp.MustCompile(`^//docker:(no|partly|added|without) (.+?): (.+)$`)

// remarks are all of them, by what they are about.
func remarks(t *testing.T) map[string]claim {
	t.Helper()
	out := map[string]claim{}
	for _, s := range sources(t) {
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if !strings.HasPrefix(c.Text, "//docker:") {
					continue
				}
				m := remark.FindStringSubmatch(c.Text)
				if m == nil {
					t.Errorf("%s: cannot be read: %s", s.set.Position(c.Pos()), c.Text)
					continue
				}
				for _, subject := range strings.Split(m[2], ", ") {
					if _, twice := out[subject]; twice {
						t.Errorf("%s: `%s` is spoken of twice", s.set.Position(c.Pos()), subject)
					}
					out[strings.TrimPrefix(subject, "dockerd ")] = claim{strings.Replace(m[1], "without", without, 1), m[3]}
				}
			}
		}
	}
	return out
}

// TestWhatIsMissingIsRemarked: a door that answers that it has not what Docker has says of which endpoint or flag that is so.
func TestWhatIsMissingIsRemarked(t *testing.T) {
	seen := 0
	for _, s := range sources(t) {
		if !within(s.folder, "internal/dockerapi") && !within(s.folder, "internal/containerspec") && !within(s.folder, "internal/containers/ps") ||
			within(s.folder, "internal/dockerapi/httpkit") || within(s.folder, "internal/dockerapi/private") {
			continue
		}
		for _, d := range s.file.Decls {
			refuses := false
			ast.Inspect(d, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				refuses = refuses || ok && sel.Sel.Name == "NotImplemented"
				return true
			})
			if !refuses {
				continue
			}
			seen++
			from, to := d.Pos(), d.End()
			if f, ok := d.(*ast.FuncDecl); ok && f.Doc != nil {
				from = f.Doc.Pos()
			}
			if !slices.ContainsFunc(s.file.Comments, func(g *ast.CommentGroup) bool {
				return from <= g.Pos() && g.End() <= to && slices.ContainsFunc(g.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//docker:") })
			}) {
				t.Errorf("%s refuses what Docker has, and no //docker: comment there says of what that is so", s.set.Position(d.Pos()))
			}
		}
	}
	if seen < 5 {
		t.Errorf("only %d refusals were seen: the test looks in the wrong place", seen)
	}
}

// commands are those that linkspan has, docker's and its own, and the flags of which something else is to be said than of
// their command. What is refused on Linux or no longer heeded is known from the tree itself.
func commands(t *testing.T) map[string]claim {
	t.Helper()
	root, own, err := cli.Program{}.Commands()
	if err != nil {
		t.Fatal(err)
	}
	out, longer, said := map[string]claim{}, map[string]string{}, remarks(t)
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		below := c.Commands()
		slices.SortFunc(below, func(a, b *cobra.Command) int { // with commands below first: theirs are the longer names
			return cmp.Or(cmp.Compare(len(b.Commands()), len(a.Commands())), strings.Compare(a.Name(), b.Name()))
		})
		for _, b := range below {
			if b.Name() != "help" {
				visit(b)
			}
		}
		if slices.ContainsFunc(below, func(b *cobra.Command) bool { return !own[b] }) && c != root || len(below) > 0 && own[c] {
			return // only shows its help
		}
		name := strings.TrimPrefix(c.CommandPath(), root.Name()+" ")
		if c == root {
			name = "docker"
		}
		if own[c] {
			out[name] = claim{added, c.Short}
			return
		}
		same := c.Short
		c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) { same += " " + f.Name })
		if first, ok := longer[same]; ok {
			out[name] = claim{cmp.Or(said[first].is, fully), "as `" + first + "`"}
			return
		}
		longer[same] = name
		plain, others := commandFlags(name, c, said)
		out[name] = claim{fully, plain}
		maps.Copy(out, others)
	}
	visit(root)
	if len(out) < 150 {
		t.Fatalf("only %d commands and flags: the test does not see them", len(out))
	}
	return out
}

// commandFlags returns the flags of a command of which nothing is to be said, as text, and the others.
func commandFlags(name string, c *cobra.Command, said map[string]claim) (plain string, others map[string]claim) {
	others = map[string]claim{}
	var list []string
	c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		subject := name + " --" + f.Name
		_, windows := f.Annotations["ostype"]
		_, remarked := said[subject]
		switch {
		case f.Name == "help", said[name].is == no:
		case f.Deprecated != "":
			others[subject] = claim{"deprecated", strings.TrimPrefix(f.Deprecated, "and ")}
		case windows && f.Annotations["ostype"][0] == "windows":
			others[subject] = claim{no, "`docker` has it for Windows only"}
		case remarked:
			others[subject] = claim{fully, ""}
		default:
			list = append(list, "`--"+f.Name+"`")
		}
	})
	return strings.Join(list, " "), others
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
					c = claim{without, why}
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

// TestCompatibilityIsTold: docs/compatibility.md has every endpoint, command and flag, and says of each what the code does.
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

// byPath sorts endpoints by what they are about, then by method; commands and flags by name.
func byPath(a, b string) int {
	if !endpoint.MatchString(a) {
		return strings.Compare(a, b)
	}
	methodA, pathA, _ := strings.Cut(a, " ")
	methodB, pathB, _ := strings.Cut(b, " ")
	if c := strings.Compare(pathA, pathB); c != 0 {
		return c
	}
	return strings.Compare(methodA, methodB)
}
