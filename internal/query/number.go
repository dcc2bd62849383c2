package query

import (
	"strconv"
	"strings"
)

// Uint32 reads a number that must be there. Errors are strconv.ErrSyntax and, for
// one that is negative or too large, strconv.ErrRange.
func Uint32(text string) (uint32, error) {
	digits, negative := strings.CutPrefix(text, "-")
	if strings.HasPrefix(digits, "+") {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, cause(err)
	}
	if negative {
		return 0, strconv.ErrRange
	}
	return uint32(n), nil
}
