package desired

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestTypesIsComplete reads the sources: whatever has a Key is a type of rows.
func TestTypesIsComplete(t *testing.T) {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "Key" {
				continue
			}
			if recv, ok := f.Recv.List[0].Type.(*ast.Ident); ok && recv.Name != "Delta" {
				want = append(want, recv.Name)
			}
		}
	}
	for _, row := range Types() {
		got = append(got, reflect.TypeOf(row).Name())
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) || len(got) == 0 {
		t.Errorf("Types has\n%v\nwant\n%v", got, want)
	}
}

// TestKindsSayWhatTheyAre: every kind is in the order once and has a type, and rows
// begin with its name.
func TestKindsSayWhatTheyAre(t *testing.T) {
	types := map[Kind]int{}
	for _, row := range Types() {
		kind := row.Key().Kind
		types[kind]++
		if line := row.String(); !strings.HasPrefix(line, string(kind)+" ") {
			t.Errorf("a row of the kind %s says %q", kind, line)
		}
	}
	for i, kind := range Kinds() {
		if types[kind] == 0 {
			t.Errorf("the kind %s has no type", kind)
		}
		if kind.Rank() != i {
			t.Errorf("the kind %s has rank %d at place %d", kind, kind.Rank(), i)
		}
		delete(types, kind)
	}
	if len(types) > 0 {
		t.Errorf("kinds without an order: %v", types)
	}
}

// TestSpaces: a row of a namespace says so.
func TestSpaces(t *testing.T) {
	for _, row := range []Row{
		Namespace{Name: "n"}, Link{Namespace: "n"}, Sysctl{Namespace: "n"}, Addr{Namespace: "n"}, Route{Namespace: "n"}, Neigh{Namespace: "n"},
		Announce{Namespace: "n"}, Resolver{Namespace: "n"},
	} {
		if row.Space() != "n" {
			t.Errorf("%s is in %q", row, row.Space())
		}
	}
	for _, row := range Types() {
		if row.Space() != HostNamespace {
			t.Errorf("%s is in %q", row, row.Space())
		}
	}
}
