package dockerapi

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// version is the NN of an API version 1.NN: there has never been another major.
type version int

// The versions that are served.
const (
	oldestVersion version = 24
	newestVersion version = 56
)

// oldest returns the oldest version that this daemon serves.
func (s *server) oldest() version {
	return min(max(oldestVersion, version(s.Info.OldestAPI)), newestVersion)
}

// String returns the version as it is written in paths and headers: "1.56".
func (v version) String() string { return "1." + strconv.Itoa(int(v)) }

// splitVersion cuts the prefix "/v1.NN" off a path. A path without one asks for
// the newest version. Errors: NotFound for what only looks like a prefix,
// Invalid for a version that is not served.
func splitVersion(path string) (v version, rest string, err error) {
	text, ok := strings.CutPrefix(path, "/v")
	if !ok || text == "" || text[0] < '0' || text[0] > '9' {
		return newestVersion, path, nil // a page whose name begins with v, or none at all
	}
	text, rest, slash := strings.Cut(text, "/")
	if !slash {
		return newestVersion, "", errNoPage()
	}
	if v, err = parseVersion(text); err != nil {
		return newestVersion, "", err
	}
	return v, "/" + rest, nil
}

// parseVersion reads "1.NN" and checks that it is served.
func parseVersion(text string) (version, error) {
	major, minor, _ := strings.Cut(text, ".")
	numbers := make([]uint64, 0, 2)
	for _, part := range []string{major, minor} {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil && part != "" {
			return 0, errNoPage()
		}
		numbers = append(numbers, n)
	}
	switch v := version(numbers[1]); {
	case numbers[0] < 1 || numbers[0] == 1 && v < oldestVersion:
		return 0, tooOld(text, oldestVersion)
	case numbers[0] > 1 || v > newestVersion:
		return 0, model.Errorf(model.Invalid, "client version %s is too new. Maximum supported API version is %s", text, newestVersion)
	default:
		return v, nil
	}
}

func tooOld(text string, oldest version) error {
	return model.Errorf(model.Invalid, "client version %s is too old. Minimum supported API version is %s, "+
		"please upgrade your client to a newer version", text, oldest)
}

func errNoPage() error {
	return &model.Error{Kind: model.NotFound, Err: fmt.Errorf("page not found")}
}
