package ops

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
)

// checkEndpoint checks what a user asks of a membership, with all complaints in
// one error, as Docker words them.
func checkEndpoint(n model.Network, spec EndpointSpec) error {
	var complaints []error
	for _, f := range families {
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
	if name := spec.DriverOpts[driver.OptionInterface]; name != "" && !validInterface(name) {
		complaints = append(complaints, fmt.Errorf("invalid interface name %q: at most 15 characters, without slashes, colons and spaces", name))
	}
	if len(spec.Aliases) > 0 && n.Predefined() {
		return model.Errorf(model.Invalid, "network-scoped aliases are only supported for user-defined networks")
	}
	if _, err := driver.EndpointSysctls(model.Endpoint{DriverOpts: spec.DriverOpts}, ""); err != nil {
		return err
	}
	if len(complaints) == 0 {
		return nil
	}
	return &model.Error{Op: "endpoint.create", Subject: "network " + n.Name, Kind: model.Invalid,
		Err: fmt.Errorf("invalid endpoint settings:\n%w", errors.Join(complaints...))}
}

func checkAddress(n model.Network, f model.Family, a netip.Addr) []error {
	if n.Predefined() {
		return []error{errors.New("user-specified IP address is supported on user-defined networks only")}
	}
	if model.FamilyOf(a) != f {
		return []error{fmt.Errorf("invalid IPv%d address: %s", f, a)}
	}
	for _, p := range poolsOf(n, f) {
		if p.Subnet.Contains(a) {
			if ipam.Reserved(p.Subnet, a) {
				return []error{fmt.Errorf("invalid address %s: it is the network's or the broadcast address of %s", a, p.Subnet)}
			}
			return nil
		}
	}
	return []error{fmt.Errorf("no configured subnet contains IP address %s", a)}
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

func validInterface(name string) bool {
	return len(name) <= 15 && !strings.ContainsAny(name, "/: \t\n") && name != "." && name != ".." && name != "lo"
}
