package runtime

import (
	"slices"
	"strings"
)

// environment returns the variables of a container's first process: ours first,
// in Docker's order, then the user's, which win. HOME is left to the OCI
// runtime, which sets it from the container's passwd file when it is missing.
func environment(hostname string, tty bool, given []string) []string {
	base := []string{defaultPath, "HOSTNAME=" + hostname}
	if tty {
		base = append(base, "TERM=xterm")
	}
	return mergeEnvironment(base, given)
}

// mergeEnvironment lays over on top of base. A name without "=" takes the
// variable away.
func mergeEnvironment(base, over []string) []string {
	out := slices.Clone(base)
	for _, v := range over {
		name, _, set := strings.Cut(v, "=")
		at := slices.IndexFunc(out, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		switch {
		case set && at >= 0:
			out[at] = v
		case set:
			out = append(out, v)
		case at >= 0:
			out = slices.Delete(out, at, at+1)
		}
	}
	return out
}
