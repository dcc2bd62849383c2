package bridge

import (
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// TestPolicyOfANetwork: its own goes before the daemon's.
func TestPolicyOfANetwork(t *testing.T) {
	d := Driver{Policy: driver.PublishLocalhost}
	for text, want := range map[string]driver.PublishPolicy{"": driver.PublishLocalhost, "any": driver.PublishAny, "private": driver.PublishPrivate} {
		if p, err := d.Publishing(model.Network{Options: map[string]string{driver.OptionPublish: text}}); err != nil || p.Policy != want {
			t.Errorf("%q: %q, %v", text, p.Policy, err)
		}
	}
	if _, err := d.Publishing(model.Network{Options: map[string]string{driver.OptionPublish: "all"}}); model.KindOf(err) != model.Invalid {
		t.Errorf("error %v", err)
	}
}

func TestPublishingOf(t *testing.T) {
	n := model.Network{Options: map[string]string{
		OptionGatewayMode6: "routed", OptionHostBinding: "::ffff:127.0.0.1", OptionTrusted: "eth1::wg0",
	}}
	p, err := publishingOf(n)
	if err != nil || p.mode(model.IPv4) != modeNAT || p.mode(model.IPv6) != modeRouted || p.host.String() != "127.0.0.1" || !slices.Equal(p.trusted, []string{"eth1", "wg0"}) {
		t.Errorf("%+v (%v)", p, err)
	}
	if p, err := publishingOf(model.Network{}); err != nil || p.mode4 != modeNAT || p.host.String() != "0.0.0.0" {
		t.Errorf("without options: %+v (%v)", p, err)
	}
	for want, options := range map[string]map[string]string{
		"failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: odd (unknown gateway mode odd)":                  {OptionGatewayMode4: "odd"},
		"gateway mode 'isolated' can only be used for an internal network":                                                   {OptionGatewayMode6: "isolated"},
		"failed to parse com.docker.network.bridge.host_binding_ipv4 value: here (nil ip)":                                   {OptionHostBinding: "here"},
		"failed to parse com.docker.network.bridge.trusted_host_interfaces value: a/b (invalid interface name)":              {OptionTrusted: "eth0:a/b"},
		"failed to parse com.docker.network.bridge.trusted_host_interfaces value: 0123456789abcdef (invalid interface name)": {OptionTrusted: "0123456789abcdef"},
	} {
		if _, err := publishingOf(model.Network{Options: options}); model.KindOf(err) != model.Invalid || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if _, err := publishingOf(model.Network{Internal: true, Options: map[string]string{OptionGatewayMode4: "isolated"}}); err != nil {
		t.Error(err)
	}
}
