package driver

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
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
// Errors are Invalid, in Docker's words.
func CheckCommon(n model.Network) error {
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
		complaints = append(complaints, Unparsable(OptionInterfacePrefix, prefix, "invalid beginning of an interface's name"))
	}
	if err := CheckInherited(n.Options); err != nil {
		complaints = append(complaints, err)
	}
	if len(complaints) == 0 {
		return nil
	}
	return model.Errorf(model.Invalid, "%w", errors.Join(complaints...))
}

// CheckInherited checks the options of a network that its endpoints have unless they say
// otherwise. Errors are Invalid.
func CheckInherited(options map[string]string) error {
	_, security := PortSecurityOf(options, nil)
	_, traffic := ShapeOf(options, nil)
	return errors.Join(security, traffic)
}

// CheckEndpoint checks the options that mean the same for endpoints on networks of every
// kind. Errors are Invalid.
func CheckEndpoint(options map[string]string) (complaints []error) {
	_, settings := EndpointSysctls(model.Endpoint{DriverOpts: options}, "")
	for _, err := range []error{settings, CheckInherited(options)} {
		if err != nil {
			complaints = append(complaints, err)
		}
	}
	return complaints
}

// CheckPools refuses a network that has no subnet of a family that it carries, in
// Docker's words.
func CheckPools(n model.Network) error {
	if n.Leased() {
		return nil
	}
	for _, f := range model.Families {
		if _, ok := n.Pool(f); n.Enabled(f) && !ok {
			return model.Errorf(model.Invalid, "ipv%d pool is empty", f)
		}
	}
	return nil
}

// Sources returns the host's addresses under which the network's traffic leaves, of
// the families for which its options name one. Errors are Invalid.
func Sources(n model.Network) (map[model.Family]netip.Addr, error) {
	var out map[model.Family]netip.Addr
	for _, o := range []struct {
		key    string
		family model.Family
	}{{OptionSource4, model.IPv4}, {OptionSource6, model.IPv6}} {
		text, given := n.Options[o.key]
		if !given {
			continue
		}
		a, err := netip.ParseAddr(text)
		a = a.Unmap()
		switch {
		case err != nil:
			return nil, Unparsable(o.key, text, "nil ip")
		case model.FamilyOf(a) != o.family, a.IsUnspecified(), a.IsMulticast(), a.IsLoopback(), a.Zone() != "":
			return nil, Unparsable(o.key, text, fmt.Sprintf("not an IPv%d address that a host can have", o.family))
		}
		if out == nil {
			out = map[model.Family]netip.Addr{}
		}
		out[o.family] = a
	}
	return out, nil
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

// How often and how fast an endpoint's addresses are announced unless the network says
// otherwise.
const (
	announceCount  = 3
	announcePeriod = time.Second
)

// Announcement returns the row that announces the addresses of an endpoint; nothing if
// there are none, or if the network wants no announcements.
func Announcement(v View, addrs []netip.Addr) []desired.Row {
	row := desired.Announce{
		Namespace: model.NamespaceOf(v.Sandbox.Container), Link: v.Endpoint.Interface, MAC: v.Endpoint.MAC, Addrs: addrs,
		Count: announceCount, Every: announcePeriod,
	}
	// What is no number was refused when the network was made.
	if n, err := strconv.Atoi(v.Network.Options[OptionAdvertiseCount]); err == nil {
		row.Count = n
	}
	if n, err := strconv.Atoi(v.Network.Options[OptionAdvertisePeriod]); err == nil {
		row.Every = time.Duration(n) * time.Millisecond
	}
	if row.Count <= 0 || len(addrs) == 0 || row.MAC == "" {
		return nil
	}
	return []desired.Row{row}
}

// Unparsable refuses the value of an option, in Docker's words.
func Unparsable(key, value, why string) error {
	return model.Errorf(model.Invalid, "failed to parse %s value: %v (%s)", key, value, why)
}
