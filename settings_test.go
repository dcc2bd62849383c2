package linkspan_test

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// TestNoSettingIsDead: what a user can set is read somewhere, and what can be read
// is set by somebody.
func TestNoSettingIsDead(t *testing.T) {
	for _, of := range []struct{ folder, name string }{
		{"internal/config", "Config"},
		{"internal/config", "Settings"},
		{"internal/containers", "Defaults"},
		{"internal/containers", "Options"},
	} {
		fields := map[string]bool{}
		for _, s := range sources(t) {
			if s.folder == of.folder {
				fieldsOf(s.file, of.name, fields)
			}
		}
		if len(fields) == 0 {
			t.Errorf("%s has no type %s: mend this test's list", of.folder, of.name)
		}
		for _, s := range sources(t) {
			forget(s.file, fields, s.folder == of.folder)
		}
		for field := range fields {
			t.Errorf("%s.%s of %s has nobody who reads or sets it: let it live or go", of.name, field, of.folder)
		}
	}
}

// forget takes off what a file reads or sets. In the settings' own package their
// definition, which takes their addresses, does not count, and neither do options'
// readers: it is others who set them.
func forget(f *ast.File, fields map[string]bool, own bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.UnaryExpr:
			return !own || n.Op != token.AND
		case *ast.SelectorExpr:
			if !own || f.Name.Name == "config" {
				delete(fields, n.Sel.Name)
			}
		case *ast.KeyValueExpr:
			if id, ok := n.Key.(*ast.Ident); ok && !own {
				delete(fields, id.Name)
			}
		}
		return true
	})
}

// fieldsOf adds the exported fields of a struct type to a set.
func fieldsOf(f *ast.File, name string, to map[string]bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != name {
			return true
		}
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, field := range structure.Fields.List {
			for _, id := range field.Names {
				if id.IsExported() && !strings.HasPrefix(id.Name, "_") {
					to[id.Name] = true
				}
			}
		}
		return false
	})
}
