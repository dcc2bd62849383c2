package model

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain text": "plain text", "a\tb": `a\tb`, "Ünïcode ✓": "Ünïcode ✓",
		"a\nb": `a\nb`, "a\x1b[2Jb": `a\x1b[2Jb`, "a\x00": `a\x00`, "a\r\nnetwork": `a\r\nnetwork`,
		"\xff\xfe": `\xff\xfe`, "\uFFFDx": "\uFFFDx", "\u202Ertl": `\u202ertl`, `a\nb`: `a\nb`,
	} {
		if got := Printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\nb\x1b\xff")
	f.Fuzz(func(t *testing.T, text string) {
		got := Printable(text)
		if strings.ContainsAny(got, "\t\n\r\x1b\x00") || !utf8.ValidString(got) || Printable(got) != got {
			t.Fatalf("%q: %q", text, got)
		}
	})
}
