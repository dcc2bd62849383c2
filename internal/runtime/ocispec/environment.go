package ocispec

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// terminalVariable is what a process on a terminal finds in its environment.
const terminalVariable = "TERM=xterm"

// Environment returns the variables of a container's first process: ours first,
// in Docker's order, then the user's, which win. HOME is left to the OCI
// runtime, which sets it from the container's passwd file when it is missing.
func Environment(hostname string, tty bool, given []string) []string {
	base := []string{defaultPath, "HOSTNAME=" + hostname}
	if tty {
		base = append(base, terminalVariable)
	}
	return MergeEnvironment(base, given)
}

// MergeEnvironment lays over on top of base. A name without "=" takes the
// variable away.
func MergeEnvironment(base, over []string) []string {
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

// execEnvironment returns the variables of a further process in a container whose
// first process has own: with TERM if it is on a terminal itself.
func execEnvironment(own *specs.Process, tty bool, given []string) []string {
	out := slices.Clone(own.Env)
	switch at := slices.Index(out, terminalVariable); {
	case tty:
		out = MergeEnvironment(out, []string{terminalVariable})
	case own.Terminal && at >= 0: // it was for the container's terminal
		out = slices.Delete(out, at, at+1)
	}
	return MergeEnvironment(out, given)
}
