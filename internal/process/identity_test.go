package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	line := "42 (a) b) (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 9 9"
	if got, err := parseStat(line); err != nil || got != 987654 {
		t.Errorf("start %d %v, want 987654", got, err)
	}
	for _, bad := range []string{"", "42 (x) S 1", strings.Replace(line, ") S", ") Z", 1)} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	own, err := Identify(os.Getpid())
	if err != nil || !own.Alive() {
		t.Errorf("own identity %+v %v", own, err)
	}
	path := filepath.Join(t.TempDir(), "pid")
	if err := WriteRecord(path, own); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadRecord(path); err != nil || got != own {
		t.Errorf("record %+v %v, want %+v", got, err, own)
	}
	own.Start++
	if own.Alive() {
		t.Error("another start time counts as the same process")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (a) b) (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 9 9")
	f.Fuzz(func(_ *testing.T, line string) { parseStat(line) }) //nolint:errcheck // it must not panic
}
