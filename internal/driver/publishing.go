package driver

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Option keys of networks whose containers' ports can be published.
const (
	OptionGatewayMode4 = "com.docker.network.bridge.gateway_mode_ipv4"
	OptionGatewayMode6 = "com.docker.network.bridge.gateway_mode_ipv6"
	OptionHostBinding  = "com.docker.network.bridge.host_binding_ipv4"
	OptionTrusted      = "com.docker.network.bridge.trusted_host_interfaces"
)

// GatewayMode says how the outside reaches the containers of a network.
type GatewayMode string

// The modes.
const (
	ModeNAT         GatewayMode = "nat"             // by published ports of the host
	ModeUnprotected GatewayMode = "nat-unprotected" // and at their own addresses, all ports
	ModeRouted      GatewayMode = "routed"          // at their own addresses, published ports; never by the host's
	ModeIsolated    GatewayMode = "isolated"        // not at all, and the host is not on the network either
)

// Publisher is a Driver whose containers' ports can be published.
type Publisher interface {
	// Publish returns the rows of ports that lead to v.Endpoint, which is up.
	Publish(v View, ports []model.PortBinding) ([]desired.Row, error)
}

// Publishing is how a network publishes ports.
type Publishing struct {
	Mode4, Mode6 GatewayMode
	// Host is where ports are published that do not say; 0.0.0.0 is every address
	// of both families.
	Host netip.Addr
	// Trusted are interfaces from which published ports can be reached at the
	// containers' own addresses too.
	Trusted []string
}

// Mode returns the mode of family f.
func (p Publishing) Mode(f model.Family) GatewayMode {
	if f == model.IPv4 {
		return p.Mode4
	}
	return p.Mode6
}

// PublishingOf reads a network's options. Errors are Invalid, in Docker's words.
func PublishingOf(n model.Network) (Publishing, error) {
	p := Publishing{Mode4: ModeNAT, Mode6: ModeNAT, Host: netip.IPv4Unspecified()}
	for _, o := range []struct {
		key string
		to  *GatewayMode
	}{{OptionGatewayMode4, &p.Mode4}, {OptionGatewayMode6, &p.Mode6}} {
		if text := n.Options[o.key]; text != "" {
			mode, err := gatewayMode(n, o.key, text)
			if err != nil {
				return p, err
			}
			*o.to = mode
		}
	}
	if text := n.Options[OptionHostBinding]; text != "" {
		host, err := netip.ParseAddr(text)
		if err != nil {
			return p, unparsable(OptionHostBinding, text, "nil ip")
		}
		p.Host = host.Unmap().WithZone("")
	}
	for _, name := range strings.FieldsFunc(n.Options[OptionTrusted], func(r rune) bool { return r == ':' }) {
		if !ValidInterface(name) {
			return p, unparsable(OptionTrusted, name, "invalid interface name")
		}
		p.Trusted = append(p.Trusted, name)
	}
	return p, nil
}

func gatewayMode(n model.Network, key, text string) (GatewayMode, error) {
	switch mode := GatewayMode(text); {
	case mode == ModeIsolated && !n.Internal:
		return "", model.Errorf(model.Invalid, "gateway mode 'isolated' can only be used for an internal network")
	case mode == ModeNAT, mode == ModeUnprotected, mode == ModeRouted, mode == ModeIsolated:
		return mode, nil
	}
	return "", unparsable(key, text, fmt.Sprintf("unknown gateway mode %s", text))
}

func unparsable(key, value, why string) error {
	return model.Errorf(model.Invalid, "failed to parse %s value: %v (%s)", key, value, why)
}
