package firewalltest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestCases prints every case in a line, to be read: what is promised to whom.
func TestCases(t *testing.T) {
	var b strings.Builder
	arrive := 0
	all := Cases()
	for _, c := range all {
		fmt.Fprintln(&b, c)
		if c.arrives {
			arrive++
		}
	}
	t.Logf("%d cases, %d arrive", len(all), arrive)
	if len(all) < 500 || arrive < 150 {
		t.Errorf("%d cases, of which %d arrive", len(all), arrive)
	}
	path := filepath.Join("testdata", "cases.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s differs; got:\n%s", path, b.String())
	}
}
