package streams

import (
	"bytes"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestParseDetachKeys(t *testing.T) {
	for text, want := range map[string]string{
		"": "\x10\x11", "ctrl-a": "\x01", "ctrl-z,q": "\x1aq", "a,b,c": "abc", "ctrl-@": "\x00", "ctrl-[": "\x1b", "ctrl-_": "\x1f",
	} {
		got, err := ParseDetachKeys(text)
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"ctrl-", "ctrl-A", "ab", ",", "ctrl-1", "a,,b"} {
		if _, err := ParseDetachKeys(text); model.KindOf(err) != model.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseDetachKeys(f *testing.F) {
	f.Add("ctrl-p,ctrl-q")
	f.Add("a,,ctrl-")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseDetachKeys(text)
		if err == nil && (len(keys) == 0 || len(keys) != strings.Count(text, ",")+1 && text != "") {
			t.Fatalf("%q: %q", text, keys)
		}
	})
}

func FuzzEscape(f *testing.F) {
	f.Add([]byte("ab\x10\x10\x11cd"), []byte("\x10\x11"), 3)
	f.Add([]byte("aaab"), []byte("aab"), 1)
	f.Fuzz(func(t *testing.T, typed, keys []byte, cut int) {
		if len(keys) == 0 || len(keys) > 8 || cut < 0 || cut > len(typed) {
			return
		}
		e := escape{keys: keys}
		pass, detached := e.feed(typed[:cut])
		if !detached {
			var more []byte
			more, detached = e.feed(typed[cut:])
			pass = append(pass, more...)
		}
		at := bytes.Index(typed, keys)
		if detached != (at >= 0) {
			t.Fatalf("typed %q, keys %q: detached %t", typed, keys, detached)
		}
		if want := typed; detached {
			if want = typed[:at]; !bytes.Equal(pass, want) {
				t.Fatalf("typed %q, keys %q: passed %q", typed, keys, pass)
			}
		} else if got := append(pass, e.held...); !bytes.Equal(got, want) {
			t.Fatalf("typed %q, keys %q: passed and held %q", typed, keys, got)
		}
	})
}
