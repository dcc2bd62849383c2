package bridge

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/firewall"
	"github.com/linkspan/linkspan/internal/model"
)

// Option keys of how ports are published.
const (
	OptionGatewayMode4 = "com.docker.network.bridge.gateway_mode_ipv4"
	OptionGatewayMode6 = "com.docker.network.bridge.gateway_mode_ipv6"
	OptionHostBinding  = "com.docker.network.bridge.host_binding_ipv4"
	OptionTrusted      = "com.docker.network.bridge.trusted_host_interfaces"
)

// gatewayMode says how the outside reaches the containers of a network.
type gatewayMode string

// The modes.
const (
	modeNAT         gatewayMode = "nat"             // by published ports of the host
	modeUnprotected gatewayMode = "nat-unprotected" // and at their own addresses, all ports
	modeRouted      gatewayMode = "routed"          // at their own addresses, published ports; never by the host's
	modeIsolated    gatewayMode = "isolated"        // not at all, and the host is not on the network either
)

// publishing is how a network publishes ports.
type publishing struct {
	mode4, mode6 gatewayMode
	// host is where ports are published that do not say; 0.0.0.0 is every address
	// of both families.
	host   netip.Addr
	policy driver.PublishPolicy // empty: the daemon's
	// respect is whose firewall judges published ports; empty: the daemon's word.
	respect string
	// trusted are interfaces from which published ports can be reached at the
	// containers' own addresses too.
	trusted []string
}

// mode returns the mode of family f.
func (p publishing) mode(f model.Family) gatewayMode {
	if f == model.IPv4 {
		return p.mode4
	}
	return p.mode6
}

// publishingOf reads a network's options. Errors are Invalid, in Docker's words.
func publishingOf(n model.Network) (publishing, error) {
	p := publishing{mode4: modeNAT, mode6: modeNAT, host: netip.IPv4Unspecified()}
	for _, o := range []struct {
		key string
		to  *gatewayMode
	}{{OptionGatewayMode4, &p.mode4}, {OptionGatewayMode6, &p.mode6}} {
		if text := n.Options[o.key]; text != "" {
			mode, err := parseMode(n, o.key, text)
			if err != nil {
				return p, err
			}
			*o.to = mode
		}
	}
	if text := n.Options[OptionHostBinding]; text != "" {
		host, err := netip.ParseAddr(text)
		if err != nil {
			return p, driver.Unparsable(OptionHostBinding, text, "nil ip")
		}
		p.host = host.Unmap().WithZone("")
	}
	if text := n.Options[driver.OptionPublish]; text != "" {
		var err error
		if p.policy, err = driver.ParsePublishPolicy(text); err != nil {
			return p, err
		}
	}
	switch p.respect = n.Options[driver.OptionRespect]; p.respect {
	case "", driver.RespectNone, driver.RespectHost:
	default:
		return p, driver.Unparsable(driver.OptionRespect, p.respect, "choose none or host")
	}
	for _, name := range strings.FieldsFunc(n.Options[OptionTrusted], func(r rune) bool { return r == ':' }) {
		if !driver.ValidInterface(name) {
			return p, driver.Unparsable(OptionTrusted, name, "invalid interface name")
		}
		p.trusted = append(p.trusted, name)
	}
	return p, nil
}

func parseMode(n model.Network, key, text string) (gatewayMode, error) {
	switch mode := gatewayMode(text); {
	case mode == modeIsolated && !n.Internal:
		return "", model.Errorf(model.Invalid, "gateway mode 'isolated' can only be used for an internal network")
	case mode == modeNAT, mode == modeUnprotected, mode == modeRouted, mode == modeIsolated:
		return mode, nil
	}
	return "", driver.Unparsable(key, text, fmt.Sprintf("unknown gateway mode %s", text))
}

// Publishing implements driver.Publisher.
func (d Driver) Publishing(n model.Network) (driver.Publishing, error) {
	p, err := publishingOf(n)
	return driver.Publishing{
		Routed4: p.mode4 == modeRouted, Routed6: p.mode6 == modeRouted, Host: p.host, Policy: cmp.Or(p.policy, d.Policy),
		Socket: d.socket(p),
	}, err
}

// socket tells whether ports are served from sockets of the host.
func (d Driver) socket(p publishing) bool {
	return cmp.Or(p.respect, d.Respect) == driver.RespectHost
}

// Publish implements driver.Publisher.
func (d Driver) Publish(v driver.View, ports []model.PortBinding) ([]desired.Row, error) {
	c, err := parse(v.Network)
	if err != nil {
		return nil, err
	}
	return firewall.Published(firewall.Publication{
		Bridge: c.bridge, To4: v.Endpoint.Addr4, To6: v.Endpoint.Addr6, Ports: ports,
		Direct: v.DirectRouting, Trusted: c.publishing.trusted, Socket: d.socket(c.publishing), Subnets: subnets(v.Network),
	}), nil
}
