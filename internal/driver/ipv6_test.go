package driver

import (
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestIPv6Off(t *testing.T) {
	for _, c := range []struct {
		sandbox  bool
		settings string
		want     bool
	}{
		{false, "", false},
		{true, "", true},
		{true, "net.ipv6.conf.IFNAME.disable_ipv6=0", true}, // the container's own settings are written last
		{false, "net.ipv6.conf.IFNAME.disable_ipv6=1", true},
		{false, "net.ipv6.conf.ifname.disable_ipv6=1", true},
		{false, "net.ipv6.conf.IFNAME.disable_ipv6=1,net.ipv6.conf.IFNAME.disable_ipv6=0", false},
		{false, "net.ipv4.conf.IFNAME.log_martians=1", false},
		{false, "nonsense", false},
	} {
		for _, link := range []string{"", "eth0"} { // before it has a name, and after
			e := model.Endpoint{Interface: link, DriverOpts: map[string]string{OptionSysctls: c.settings}}
			if got := IPv6Off(model.Sandbox{NoIPv6: c.sandbox}, e); got != c.want {
				t.Errorf("%+v on %q: %v", c, link, got)
			}
		}
	}
}
