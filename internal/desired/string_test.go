package desired

import (
	"strings"
	"testing"
)

// TestLinesOfAPlan: a row is a line, whatever its names are.
func TestLinesOfAPlan(t *testing.T) {
	s, err := State{}.Replace("endpoint/1", []Row{Name{Network: "n1", NetworkName: "web\nforged", Name: "a\x1b[2J"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `name a\x1b[2J in n1 (web\nforged)`) {
		t.Errorf("%q", got)
	}
}
