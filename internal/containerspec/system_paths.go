package containerspec

import (
	"slices"

	"github.com/moby/moby/api/types/container"
)

// confine fills in the masked and read-only paths, so that inspect tells them. The
// docker command sends empty lists for `--security-opt systempaths=unconfined`.
func confine(h *container.HostConfig, system func() (masked, readonly []string)) {
	if h.Privileged {
		return
	}
	var masked, readonly []string
	switch {
	case slices.Contains(h.SecurityOpt, "systempaths=unconfined"):
		masked, readonly = []string{}, []string{}
	case system != nil:
		masked, readonly = system()
	}
	if h.MaskedPaths == nil {
		h.MaskedPaths = masked
	}
	if h.ReadonlyPaths == nil {
		h.ReadonlyPaths = readonly
	}
}
