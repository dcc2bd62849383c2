package workload

import (
	"slices"

	"github.com/moby/moby/api/types/container"
)

// Confinement knows how containers are confined that are not told otherwise.
type Confinement interface {
	// SystemPaths returns what is masked and what is read-only.
	SystemPaths() (masked, readonly []string)
}

// confine fills in the masked and read-only paths, so that inspect tells them. The
// docker command sends empty lists for `--security-opt systempaths=unconfined`.
func confine(h *container.HostConfig, c Confinement) {
	if h.Privileged {
		return
	}
	var masked, readonly []string
	switch {
	case slices.Contains(h.SecurityOpt, "systempaths=unconfined"):
		masked, readonly = []string{}, []string{}
	case c != nil:
		masked, readonly = c.SystemPaths()
	}
	if h.MaskedPaths == nil {
		h.MaskedPaths = masked
	}
	if h.ReadonlyPaths == nil {
		h.ReadonlyPaths = readonly
	}
}
