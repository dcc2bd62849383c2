package httpkit

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// Version is the NN of an API version 1.NN: there has never been another major.
type Version int

// The versions that are served.
const (
	OldestVersion Version = 24
	NewestVersion Version = 56
)

// String returns the version as it is written in paths and headers: "1.56".
func (v Version) String() string { return "1." + strconv.Itoa(int(v)) }

// SplitVersion cuts the prefix "/v1.NN" off a path. A path without one asks for
// the newest version. Errors: NotFound for what only looks like a prefix,
// Invalid for a version that is not served.
func SplitVersion(path string) (v Version, rest string, err error) {
	text, ok := strings.CutPrefix(path, "/v")
	if !ok || text == "" || text[0] < '0' || text[0] > '9' {
		return NewestVersion, path, nil // a page whose name begins with v, or none at all
	}
	text, rest, slash := strings.Cut(text, "/")
	if !slash {
		return NewestVersion, "", ErrNoPage()
	}
	if v, err = parseVersion(text); err != nil {
		return NewestVersion, "", err
	}
	return v, "/" + rest, nil
}

// parseVersion reads "1.NN" and checks that it is served.
func parseVersion(text string) (Version, error) {
	major, minor, _ := strings.Cut(text, ".")
	numbers := make([]uint64, 0, 2)
	for _, part := range []string{major, minor} {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil && part != "" {
			return 0, ErrNoPage()
		}
		numbers = append(numbers, n)
	}
	switch v := Version(numbers[1]); {
	case numbers[0] < 1 || numbers[0] == 1 && v < OldestVersion:
		return 0, TooOld(text, OldestVersion)
	case numbers[0] > 1 || v > NewestVersion:
		return 0, model.Errorf(model.Invalid, "client version %s is too new. Maximum supported API version is %s", text, NewestVersion)
	default:
		return v, nil
	}
}

// TooOld returns the answer to a client of a version before the oldest.
func TooOld(text string, oldest Version) error {
	return model.Errorf(model.Invalid, "client version %s is too old. Minimum supported API version is %s, "+
		"please upgrade your client to a newer version", text, oldest)
}

// ErrNoPage returns the answer to a path, or a method, that is not served.
func ErrNoPage() error {
	return &model.Error{Kind: model.NotFound, Err: fmt.Errorf("page not found")}
}
