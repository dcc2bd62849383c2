package volumes

import (
	"net/url"
	"slices"

	"github.com/docker/go-units"

	"github.com/linkspan/linkspan/internal/model"
)

// CheckOptions refuses options that the driver local does not have or that lack others,
// in Docker's words.
func CheckOptions(o map[string]string) error {
	for _, name := range sorted(o) {
		if !slices.Contains([]string{"type", "o", "device", "size"}, name) {
			return model.Errorf(model.Invalid, "invalid option: %q", name)
		}
	}
	if o["type"] == "cifs" && o["device"] != "" {
		device, err := url.Parse(o["device"])
		if err != nil {
			return model.Errorf(model.Invalid, "error parsing mount device url: %w", err)
		}
		if device.Port() != "" {
			return model.Errorf(model.Invalid, "port not allowed in CIFS device URL, include 'port' in 'o='")
		}
	}
	if text, given := o["size"]; given {
		size, err := units.RAMInBytes(text)
		if err != nil {
			return model.Errorf(model.Invalid, "%w", err)
		}
		if size > 0 {
			return model.Errorf(model.Invalid, "quota size requested but no quota support")
		}
	}
	for _, needs := range []struct{ option, other string }{
		{"device", "type"}, {"type", "device"}, {"o", "device"}, {"o", "type"},
	} {
		_, has := o[needs.option]
		if _, other := o[needs.other]; has && !other {
			return model.Errorf(model.Invalid, "missing required option: %q", needs.other)
		}
	}
	return nil
}
