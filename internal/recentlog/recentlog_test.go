package recentlog

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestLast(t *testing.T) {
	var passed bytes.Buffer
	l := New(&passed)
	if got := l.Last(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	for i := range maxLines + 5 {
		fmt.Fprintf(l, "line %d\n", i)
	}
	got := l.Last()
	if len(got) != maxLines || got[0] != "line 5" || got[maxLines-1] != fmt.Sprintf("line %d", maxLines+4) {
		t.Errorf("%d lines, %q to %q", len(got), got[0], got[len(got)-1])
	}
	if !strings.HasPrefix(passed.String(), "line 0\nline 1\n") {
		t.Errorf("passed on: %.20q", passed.String())
	}
	fmt.Fprint(l, strings.Repeat("x", 10*maxLine))
	if got := l.Last(); len(got[maxLines-1]) != maxLine {
		t.Errorf("a line of %d bytes is kept", len(got[maxLines-1]))
	}
}

func TestManyWrite(t *testing.T) {
	l := New(&lockedBuffer{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				fmt.Fprint(l, "same line\n")
				_ = l.Last()
			}
		})
	}
	all.Wait()
	for _, line := range l.Last() {
		if line != "same line" {
			t.Fatalf("%q", line)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}
