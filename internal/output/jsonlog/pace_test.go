package jsonlog

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestBoundedOptions(t *testing.T) {
	for _, c := range []struct{ size, files, wantSize, wantFiles int64 }{
		{0, 0, 0, 1},
		{10 << 20, 3, 10 << 20, 3},
		{1 << 10, 1000, 1 << 10, 1000},
		{1, 1_000_000, 1000, 1000},
		{1, 1001, 2, 1000},
		{0, 1_000_000, 0, 1000},
		{math.MaxInt64, math.MaxInt64, math.MaxInt64, 1000},
	} {
		got := Options{MaxSize: c.size, MaxFiles: int(c.files)}.bounded()
		if got.MaxSize != c.wantSize || int64(got.MaxFiles) != c.wantFiles {
			t.Errorf("%d bytes in %d files are kept as %d in %d", c.size, c.files, got.MaxSize, got.MaxFiles)
		}
		if again := got.bounded(); again.MaxSize != got.MaxSize || again.MaxFiles != got.MaxFiles {
			t.Errorf("%d bytes in %d files: twice is not the same as once", c.size, c.files)
		}
	}
}

// TestPace: a burst of rotations may take as long as the credit, and after that they
// take a tenth of the time.
func TestPace(t *testing.T) {
	now := time.Now()
	p := pace{credit: paceCredit, seen: now}
	const each = 10 * time.Millisecond
	rotate := func() (n int) {
		for p.allows(now) && n < 10_000 {
			p.took(each)
			n++
		}
		return n
	}
	if n := rotate(); n != int(paceCredit/each) {
		t.Errorf("%d at once", n)
	}
	n := 0
	for range 100_000 {
		now = now.Add(time.Millisecond)
		n += rotate()
	}
	if spent := time.Duration(n) * each; spent < 9*time.Second || spent > 11*time.Second {
		t.Errorf("rotations took %s of 100 s", spent)
	}
	now = now.Add(time.Hour)
	if n := rotate(); n != int(paceCredit/each) {
		t.Errorf("%d at once after a pause", n)
	}
}

// TestShortLinesInShortFiles: with a million files of a byte each, a line costs no more
// than with any other options, all is readable, and there is a bound of files.
func TestShortLinesInShortFiles(t *testing.T) {
	o, err := ParseOptions(map[string]string{"max-size": "1", "max-file": "1000000"})
	if err != nil {
		t.Fatal(err)
	}
	l, path := open(t, o)
	const lines = 30_000
	begun := time.Now()
	for i := range lines {
		if err := l.Write(Entry{Stream: "stdout", Line: fmt.Appendf(nil, "%d\n", i)}); err != nil {
			t.Fatal(err)
		}
	}
	// Each line in a file of its own would be 10^8 renames and more.
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("%d lines took %s", lines, took)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) > mostFiles {
		t.Errorf("%d files, %v", len(files), err)
	}
	got := read(t, path, ReadOptions{Tail: 3})
	if want := []string{"29997\n", "29998\n", "29999\n"}; !slices.Equal(got, want) {
		t.Errorf("the last lines: %q", got)
	}
}

// TestFilesThatGotTooLongStillMakeRoom: where rotation could not keep pace, the log does
// not take more room than that of files as they should be.
func TestFilesThatGotTooLongStillMakeRoom(t *testing.T) {
	l, path := open(t, Options{MaxSize: 1000, MaxFiles: 5})
	line := append(make([]byte, 1000), '\n')
	for i := range line[:1000] {
		line[i] = 'x'
	}
	for range 12 {
		l.pace.credit, l.pace.seen = -time.Hour, time.Now() // no rotation for now
		for range 250 {
			if err := l.Write(Entry{Stream: "stdout", Line: line}); err != nil {
				t.Fatal(err)
			}
		}
		l.pace.credit = paceCredit
		if err := l.Write(Entry{Stream: "stdout", Line: line}); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if most := int64(5*(1000+longestEntry) + 300_000); total > most || len(files) < 2 {
		t.Errorf("%d files of %d bytes, at most %d are wanted", len(files), total, most)
	}
}
