package buildkitd

import (
	"runtime/debug"

	"github.com/moby/buildkit/version"
)

// tellVersion has BuildKit say which version of it this is, as its own builds do by their linker: buildx shows it, and
// registries are told it.
func tellVersion() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, m := range info.Deps {
		if m.Path == version.Package {
			version.Version = m.Version
		}
	}
}
