package linkspan_test

import (
	"go/ast"
	"maps"
	"slices"
	"testing"
)

// Bounds of what one name stands for.
const (
	maxMethods = 40   // of a type
	maxPackage = 3000 // lines of a package, without tests

	// packageSlack is how far a package may shrink before its entry has to follow, so
	// that not every change touches it.
	packageSlack = 200
)

// largePackages are folders with more lines than maxPackage still, with how many
// they may have, and why in docs/adr/0031-three-packages-above-the-bound.md and
// 0037-three-packages-cut.md. The numbers only fall.
var largePackages = map[string]int{
	"internal/containers": 4000,
	"internal/kernel/nft": 4850,
}

func TestTypesStaySmall(t *testing.T) {
	methods := map[string]int{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				methods[s.folder+"."+receiver(f)]++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		if n := methods[name]; n > maxMethods {
			t.Errorf("%s has %d methods, at most %d are allowed: give some of them to a type of their own", name, n, maxMethods)
		}
	}
}

func TestPackagesStaySmall(t *testing.T) {
	lines := map[string]int{}
	for _, s := range sources(t) {
		lines[s.folder] += s.lines
	}
	for _, folder := range slices.Sorted(maps.Keys(lines)) {
		n, limit := lines[folder], max(maxPackage, largePackages[folder])
		if n > limit {
			t.Errorf("%s has %d lines, at most %d are allowed: give some of them to a package of their own", folder, n, limit)
		}
	}
	for folder, listed := range largePackages {
		if n := lines[folder]; n < listed-packageSlack || n <= maxPackage {
			t.Errorf("%s has %d lines by now, largePackages says %d: write the new number, or none if it is %d or less", folder, n, listed, maxPackage)
		}
	}
}
