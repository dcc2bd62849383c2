package bridge

import (
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// TestPortMode: the capability counts unless somebody says otherwise, and nobody
// but the user opens a port wholly.
func TestPortMode(t *testing.T) {
	for _, c := range []struct {
		network, endpoint string
		able              bool
		want              desired.PortMode
	}{
		{"", "", false, desired.PortPinned},
		{"", "", true, desired.PortCapable},
		{"strict", "", true, desired.PortPinned},
		{"strict", "capability", true, desired.PortCapable},
		{"capability", "strict", true, desired.PortPinned},
		{"off", "", false, desired.PortUnchecked},
		{"off", "strict", false, desired.PortPinned},
		{"strict", "off", false, desired.PortUnchecked},
	} {
		v := driver.View{Endpoint: &model.Endpoint{}, Sandbox: model.Sandbox{NetAdmin: c.able}}
		if c.network != "" {
			v.Network.Options = map[string]string{driver.OptionPortSecurity: c.network}
		}
		if c.endpoint != "" {
			v.Endpoint.DriverOpts = map[string]string{driver.OptionPortSecurity: c.endpoint}
		}
		if got, err := portMode(v); got != c.want || err != nil {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}
