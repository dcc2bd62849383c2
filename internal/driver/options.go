package driver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/linkspan/linkspan/internal/model"
)

// Option keys that mean the same on networks of every kind.
const (
	OptionIPv4            = "com.docker.network.enable_ipv4"
	OptionIPv6            = "com.docker.network.enable_ipv6"
	OptionAdvertiseCount  = "com.docker.network.advertise_addr_nmsgs"
	OptionAdvertisePeriod = "com.docker.network.advertise_addr_ms"
	OptionSource4         = "com.docker.network.host_ipv4"
	OptionSource6         = "com.docker.network.host_ipv6"
)

// CheckCommon checks the options that mean the same on networks of every kind.
// Errors are Invalid, in Docker's words, or NotImplemented for what would be
// without effect.
func CheckCommon(n model.Network) error {
	for _, key := range []string{OptionSource4, OptionSource6} {
		if _, given := n.Options[key]; given {
			return &model.Error{Kind: model.NotImplemented, Err: fmt.Errorf("option %s is not supported", key),
				Way: "leave it out: traffic leaves under the address that the host's routes name"}
		}
	}
	// Announcing an address is to correct neighbours that know it with another MAC
	// address. Here a MAC address follows from the address, so there is nothing to
	// correct, however often it is said.
	var complaints []error
	for _, o := range []struct {
		key, what string
		from, to  int
	}{{OptionAdvertiseCount, "an integer", 0, 3}, {OptionAdvertisePeriod, "integer milliseconds", 100, 2000}} {
		text, given := n.Options[o.key]
		if !given {
			continue
		}
		switch value, err := strconv.Atoi(text); {
		case err != nil:
			complaints = append(complaints, fmt.Errorf("value for option %s %q must be %s", o.key, text, o.what))
		case value < o.from || value > o.to:
			complaints = append(complaints, fmt.Errorf("%s must be in the range %d to %d", o.key, o.from, o.to))
		}
	}
	if prefix := n.Options[OptionInterfacePrefix]; prefix != "" && !ValidInterface(prefix+"00") {
		complaints = append(complaints, unparsable(OptionInterfacePrefix, prefix, "invalid beginning of an interface's name"))
	}
	if _, err := PortSecurityOf(n.Options, nil); err != nil {
		complaints = append(complaints, err)
	}
	if len(complaints) == 0 {
		return nil
	}
	return model.Errorf(model.Invalid, "%w", errors.Join(complaints...))
}

// Families returns n with the families that its options switch on or off, save
// those in explicit, which the user switched himself: there the option goes, as
// it would only tell something else.
func Families(n model.Network, explicit ...model.Family) (model.Network, error) {
	options := maps.Clone(n.Options)
	for _, o := range []struct {
		family model.Family
		key    string
		to     *bool
	}{{model.IPv4, OptionIPv4, &n.IPv4}, {model.IPv6, OptionIPv6, &n.IPv6}} {
		text, given := options[o.key]
		if !given {
			continue
		}
		if slices.Contains(explicit, o.family) {
			delete(options, o.key)
			continue
		}
		on, err := strconv.ParseBool(text)
		if err != nil {
			return n, model.Errorf(model.Invalid, "driver-opt %q is not a valid bool", o.key)
		}
		*o.to = on
	}
	n.Options = options
	return n, nil
}
