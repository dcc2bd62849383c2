package ops

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// checkEndpoint checks what a user asks of a membership, with all complaints in
// one error, as Docker words them.
func checkEndpoint(n model.Network, spec EndpointSpec) error {
	var complaints []error
	for _, f := range model.Families {
		a := spec.IPv4
		if f == model.IPv6 {
			a = spec.IPv6
		}
		if a.IsValid() {
			complaints = append(complaints, checkAddress(n, f, a)...)
		}
	}
	for _, a := range spec.LinkLocal {
		if !a.IsLinkLocalUnicast() {
			complaints = append(complaints, fmt.Errorf("invalid link-local IP address: %s", a))
		}
	}
	if spec.MAC != "" {
		if err := checkMAC(spec.MAC); err != nil {
			complaints = append(complaints, err)
		}
	}
	if name := spec.DriverOpts[driver.OptionInterface]; name != "" && (name == "lo" || !driver.ValidInterface(name)) {
		complaints = append(complaints, fmt.Errorf("invalid interface name %.32q: at most 15 characters, without slashes, colons, percent signs and spaces", name))
	}
	if len(spec.Aliases) > 0 && n.Predefined() {
		complaints = append(complaints, errors.New("network-scoped aliases are only supported for user-defined networks"))
	}
	complaints = append(complaints, CheckNames(spec.Aliases, spec.Links)...)
	complaints = append(complaints, driver.CheckEndpoint(spec.DriverOpts)...)
	if len(complaints) == 0 {
		return nil
	}
	return &model.Error{Op: "endpoint.create", Subject: "network " + n.Name, Kind: model.Invalid,
		Err: fmt.Errorf("invalid endpoint settings:\n%w", errors.Join(complaints...))}
}

const (
	// maxAlias is the longest name that DNS can ask for (RFC 1035 section 2.3.4), in
	// bytes.
	maxAlias = 255
	// maxAliases and maxAliasBytes bound what a membership brings to the resolver.
	maxAliases    = 16384
	maxAliasBytes = 1 << 20
)

// CheckNames checks the names that a membership gives to its container, and to
// others by links: all that can be asked for is taken, and much that cannot, as
// Docker does, but nothing that would break a line or fill the memory of those who
// keep it.
func CheckNames(aliases []string, links []model.Link) []error {
	var complaints []error
	names := slices.Clone(aliases)
	for _, l := range links {
		names = append(names, l.Alias, l.Target)
	}
	sum := 0
	for _, name := range names {
		sum += len(name)
		switch {
		case name == "":
			complaints = append(complaints, errors.New("invalid alias: it is empty"))
		case len(name) > maxAlias:
			complaints = append(complaints, fmt.Errorf("invalid alias %.32q…: it has %d bytes, at most %d are allowed", name, len(name), maxAlias))
		case strings.ContainsFunc(name, unicode.IsControl):
			complaints = append(complaints, fmt.Errorf("invalid alias %q: it has control characters", name))
		}
		if len(complaints) > 0 {
			return complaints[:1] // there may be very many
		}
	}
	if len(names) > maxAliases || sum > maxAliasBytes {
		return []error{fmt.Errorf("too many aliases: %d with %d bytes, at most %d with %d bytes are allowed", len(names), sum, maxAliases, maxAliasBytes)}
	}
	return nil
}

func checkAddress(n model.Network, f model.Family, a netip.Addr) []error {
	if n.Predefined() {
		return []error{errors.New("user-specified IP address is supported on user-defined networks only")}
	}
	var out []error
	if model.FamilyOf(a) != f || a.IsUnspecified() || a.Zone() != "" {
		out = append(out, fmt.Errorf("invalid IPv%d address: %s", f, a))
	}
	if n.Leased() && f == model.IPv4 {
		return out // its server decides
	}
	for _, p := range poolsOf(n, f) {
		if p.Subnet.Contains(a) {
			return out // the network's own addresses are like any other that is taken: that matters at start
		}
	}
	return append(out, fmt.Errorf("no configured subnet contains IP address %s", a))
}

func checkMAC(text string) error {
	mac, err := net.ParseMAC(text)
	switch {
	case err != nil || len(mac) != 6:
		return fmt.Errorf("invalid MAC address: %s", text)
	case mac[0]&1 != 0:
		return fmt.Errorf("invalid MAC address: %s is a group address", text)
	}
	return nil
}
