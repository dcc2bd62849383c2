package linkspan_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// impure are calls by which code waits, reads a clock, or reaches the world: pure
// code takes times and answers as arguments, and starts nothing.
var impure = map[string][]string{
	"time":          {"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTicker", "NewTimer"},
	"net":           {"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialUnix", "Listen", "ListenPacket", "ListenUDP", "Interfaces", "LookupHost", "LookupIP", "LookupAddr"},
	"path/filepath": {"Glob", "Walk", "WalkDir", "EvalSymlinks", "Abs"},
	"context":       {"Background", "TODO", "WithTimeout", "WithDeadline"},
}

func isPure(folder string) bool {
	layer, _ := layerOf(folder)
	return slices.Contains(append(groups[words], groups[thought]...), layer)
}

// calls returns what a file calls of other packages: their import paths and the names.
func calls(f *ast.File, found func(path, name string, at token.Pos)) {
	packages := map[string]string{}
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		name := path[strings.LastIndex(path, "/")+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		packages[name] = path
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && id.Obj == nil && packages[id.Name] != "" {
				found(packages[id.Name], sel.Sel.Name, n.Pos())
			}
		}
		return true
	})
}

// TestPureCodeOnlyComputes: no clock, no wait, no goroutine, nothing reached for.
func TestPureCodeOnlyComputes(t *testing.T) {
	looked := 0
	for _, s := range sources(t) {
		if !isPure(s.folder) {
			continue
		}
		looked++
		calls(s.file, func(path, name string, at token.Pos) {
			if slices.Contains(impure[path], name) {
				t.Errorf("%s uses %s.%s: words and thought are pure", s.set.Position(at), path, name)
			}
		})
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
				t.Errorf("%s: words and thought start nothing and wait for nothing", s.set.Position(n.Pos()))
			}
			return true
		})
	}
	if looked < 20 {
		t.Errorf("only %d pure files were seen: the test looks in the wrong place", looked)
	}
}

// filesOf are who may reach for files, beside the hands and cmd: each with what for.
var filesOf = map[string]string{
	"internal/config":                        "the configuration file",
	"internal/keeper":                        "the keeper's program, its socket and its lock",
	"internal/dockerapi/listen.go":           "sockets of the API",
	"internal/dockerapi/certificates.go":     "certificates of the API",
	"internal/cli":                           "the terminal",
	"internal/containers/containerfiles":     "hosts, resolv.conf and the other files of containers",
	"internal/containers/mounts":             "directories of the host that are mounted",
	"internal/containers/procfs":             "processes of containers",
	"internal/containers/logger":             "the host's name, for log tags",
	"internal/containers/machine/machine.go": "which CPUs the host has, and its name",
}

// TestWhoReachesForFiles: hubs and doors leave files to hands.
func TestWhoReachesForFiles(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		layer, _ := layerOf(s.folder)
		hubOrDoor := slices.Contains(groups[hub], layer) || slices.Contains([]string{"internal/config", "internal/dockerapi", "internal/cli"}, layer)
		if !hubOrDoor {
			continue
		}
		for _, i := range s.file.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); path != "os" && (path != "syscall" || onlySignals(s.file)) {
				continue
			}
			switch {
			case filesOf[s.path] != "":
				used[s.path] = true
			case filesOf[s.folder] != "":
				used[s.folder] = true
			case filesOf[layer] != "":
				used[layer] = true
			default:
				t.Errorf("%s imports os: hubs and doors leave files to hands", s.path)
			}
		}
	}
	for at := range filesOf {
		if !used[at] {
			t.Errorf("%s reaches for no file any more: take it off the list", at)
		}
	}
}

// onlySignals tells whether a file has nothing of package syscall but signals.
func onlySignals(f *ast.File) bool {
	only := true
	calls(f, func(path, name string, _ token.Pos) {
		if path == "syscall" && !strings.HasPrefix(name, "SIG") && name != "Signal" {
			only = false
		}
	})
	return only
}

// TestTestsDoNotSleep: a test waits for a condition. Where it does sleep, the same
// line says why that is right.
func TestTestsDoNotSleep(t *testing.T) {
	looked := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		looked++
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		said := map[int]bool{}
		for _, group := range f.Comments {
			for _, c := range group.List {
				said[set.Position(c.Pos()).Line] = true
			}
		}
		calls(f, func(pkg, name string, at token.Pos) {
			if pkg == "time" && name == "Sleep" && !said[set.Position(at).Line] {
				t.Errorf("%s: time.Sleep: wait for a condition, or say on this line why there is none", set.Position(at))
			}
		})
		return nil
	})
	if err != nil || looked < 100 {
		t.Fatalf("%d tests were read, %v", looked, err)
	}
}
