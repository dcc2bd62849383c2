package output

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// cutIn cuts text that comes in pieces of n bytes.
func cutIn(text []byte, n int) []string {
	var c cutter
	var out []string
	for len(text) > 0 {
		size := min(n, len(text))
		c.cut(text[:size], func(line []byte) { out = append(out, string(line)) })
		text = text[size:]
	}
	if len(c.partial) > 0 {
		out = append(out, string(c.partial))
	}
	return out
}

func TestLinesAreDockers(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for name, tc := range map[string]struct {
		in   string
		want []string
	}{
		"lines":        {"a\nb\n", []string{"a\n", "b\n"}},
		"no line feed": {"a\nb", []string{"a\n", "b"}},
		"empty lines":  {"\n\n", []string{"\n", "\n"}},
		"nothing":      {"", nil},
		"long":         {long + "yz\nb\n", []string{long, "yz\n", "b\n"}},
		"just full":    {long + "\n", []string{long, "\n"}},
		"fits":         {long[1:] + "\nb", []string{long[1:] + "\n", "b"}},
		"after a line": {"a\n" + long + "b\n", []string{"a\n", long, "b\n"}},
		"twice":        {long + long, []string{long, long}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{1, 7, maxLine - 1, maxLine, maxLine + 1, 1 << 20} {
				if got := cutIn([]byte(tc.in), n); fmt.Sprint(got) != fmt.Sprint(tc.want) {
					t.Errorf("in pieces of %d: %d lines, want %d", n, len(got), len(tc.want))
				}
			}
		})
	}
}

func FuzzCut(f *testing.F) {
	f.Add([]byte("a\nbc\n\nd"), uint16(1), uint8(0))
	f.Add([]byte("long"), uint16(5), uint8(9))
	f.Fuzz(func(t *testing.T, text []byte, n uint16, repeat uint8) {
		text = bytes.Repeat(text, 1+int(repeat)*16)
		if n == 0 || len(text) > 1<<20 {
			return
		}
		whole, pieces := cutIn(text, len(text)+1), cutIn(text, int(n))
		if fmt.Sprint(whole) != fmt.Sprint(pieces) {
			t.Fatalf("pieces of %d bytes give %d lines, the whole %d", n, len(pieces), len(whole))
		}
		if strings.Join(whole, "") != string(text) {
			t.Fatal("the lines are not the text")
		}
		for i, line := range whole {
			if feed := strings.IndexByte(line, '\n'); len(line) > maxLine || feed >= 0 && feed != len(line)-1 ||
				feed < 0 && len(line) < maxLine && i < len(whole)-1 {
				t.Fatalf("line %d of %d bytes has its line feed at %d", i, len(line), feed)
			}
		}
	})
}

func TestBrokenLinesKeepCharactersWhole(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "a": 1, "é": 2, "\xc3": 0, "a\xc3": 1, "€": 3, "\xe2\x82": 0, "x\xe2\x82": 1,
		"\xf0\x9f\x98": 0, "😀": 4, "\x80\x80\x80\x80": 4, "\xff": 1,
	} {
		if got := wholeRunes([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestStampsGrow(t *testing.T) {
	c := newContainer(id, New(Options{}))
	last := c.stampLocked()
	for range 1000 {
		now := c.stampLocked()
		if !now.After(last) {
			t.Fatalf("%v after %v", now, last)
		}
		last = now
	}
	c.last = time.Now().Add(time.Hour) // the clock was set back
	if now := c.stampLocked(); time.Until(now) > time.Minute {
		t.Errorf("the clock is not followed: %v", now)
	}
}
