package containerspec

import (
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// ParseVolumesFrom reads "container" or "container:mode". Errors are Invalid, in
// Docker's words.
func ParseVolumesFrom(spec string) (ref string, readOnly bool, err error) {
	if spec == "" {
		return "", false, refuse("volumes-from specification cannot be an empty string")
	}
	ref, mode, _ := strings.Cut(spec, ":")
	if mode == "" {
		return ref, false, nil
	}
	// Of each kind at most one; what a mount passes on stays the other's.
	var seen [3]bool
	for word := range strings.SplitSeq(mode, ",") {
		kind := slices.IndexFunc([][]string{{"rw", "ro"}, {"z", "Z"}, {"consistent", "cached", "delegated"}},
			func(words []string) bool { return slices.Contains(words, word) })
		if kind < 0 || seen[kind] {
			return "", false, model.Errorf(model.Invalid, "invalid mode: %s", mode)
		}
		seen[kind] = true
		readOnly = readOnly || word == "ro"
	}
	return ref, readOnly, nil
}
