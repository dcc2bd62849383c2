package model

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Printable returns a text that fits into a line of a report: what does not print,
// such as the end of a line or what a terminal obeys, is escaped as in a Go string.
func Printable(text string) string {
	var out strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[0])
		case strconv.IsPrint(r):
			out.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return out.String()
}
