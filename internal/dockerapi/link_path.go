package dockerapi

import (
	"net/url"
	"strings"
)

// linkInPath makes the two words in a path such as /containers/app/db/json one: a
// container may be named by the link that leads to it, "parent/alias". It tells
// whether the path can be one.
func linkInPath(u *url.URL) bool {
	rest, ok := strings.CutPrefix(u.EscapedPath(), "/containers/")
	parent, further, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	alias, verb, found := strings.Cut(further, "/")
	if !ok || !found || parent == "" || alias == "" || verb == "" {
		return false
	}
	u.RawPath = "/containers/" + parent + "%2F" + alias + "/" + verb
	path, err := url.PathUnescape(u.RawPath)
	u.Path = path
	return err == nil
}
