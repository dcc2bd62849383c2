// Package query reads what requests ask for in words: truth values, filters and
// points in time, in every form that Docker's clients and client libraries send.
// Each is read here and nowhere else.
//
// It decides nothing about containers or networks, and looks at no clock: who
// asks says what time it is.
package query

import "strings"

// Bool reads a truth value of a query. There is no wrong one: everything is true
// but the words for no, in any case and with blanks around them ("False" is what
// Python's libraries send).
func Bool(text string) bool {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}
