package netns

import (
	"fmt"
	"strings"
	"testing"
)

func TestContainersIn(t *testing.T) {
	id, other := strings.Repeat("0123456789abcdef", 4), strings.Repeat("f", 64)
	for text, want := range map[string]string{
		"":                          "[]",
		"0::/init.scope\n":          "[]",
		"0::/linkspan/" + id + "\n": "[0123456789ab]",
		"12:pids:/linkspan/" + id + "\n3:memory:/linkspan/" + id + "\n": "[0123456789ab]",
		"0::/linkspan/" + id + "/docker/" + other:                       "[0123456789ab ffffffffffff]",
		"0::/linkspan/" + id[1:] + "\n0::/x" + id + "\nno colons " + id: "[]",
		"0::/a:b/" + id: "[0123456789ab]",
	} {
		if got := fmt.Sprint(containersIn([]byte(text))); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// A program may call itself what it likes, and a cgroup may be called so.
func FuzzCensus(f *testing.F) {
	f.Add([]byte("7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 0"))
	f.Add([]byte("0::/linkspan/" + strings.Repeat("0123456789abcdef", 4)))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, name := range containersIn(text) {
			if len(name) != idLen {
				t.Errorf("name %q", name)
			}
		}
		_, _ = parseStart(text)
	})
}

func TestParseStart(t *testing.T) {
	got, err := parseStart([]byte("7 (a) 1 2) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 0"))
	if err != nil || got != 12345 {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := parseStart([]byte("7 (a) S 1 7")); err == nil {
		t.Error("a short file has a start time")
	}
}
