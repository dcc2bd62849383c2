package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/networks"
)

// TestSubnetsOfABridge: what becomes of addresses that the default bridge has before
// the daemon starts, case by case as dockerd decides (D14).
func TestSubnetsOfABridge(t *testing.T) {
	const kernels = "fe80::42:ff:fe00:1/64"
	for name, c := range map[string]struct {
		addrs, flags string
		users        bool
		want         string // "subnet range gateway" of each family; "-" is none
		ignored      string
		fails        string
	}{
		"nothing": {"", "--ipv6", false, "", "", ""},
		"fixed-cidr only": {"", "--fixed-cidr=192.168.176.0/24 --fixed-cidr-v6=fdd1:8161:2d2c::/64", false,
			"192.168.176.0/24 192.168.176.0/24 -, fdd1:8161:2d2c::/64 fdd1:8161:2d2c::/64 -", "", ""},
		"bip only": {"", "--bip=192.168.176.88/24 --bip6=fdd1:8161:2d2c::8888/64", false,
			"192.168.176.0/24 - 192.168.176.88, fdd1:8161:2d2c::/64 - fdd1:8161:2d2c::8888", "", ""},
		"addresses only": {"192.168.176.88/24 fdd1:8161:2d2c::8888/64", "--ipv6", false,
			"192.168.176.0/24 - 192.168.176.88, fdd1:8161:2d2c::/64 - fdd1:8161:2d2c::8888", "", ""},
		"fixed-cidr in the old subnet": {"192.168.176.88/20 fdd1:8161:2d2c::8888/56", "--fixed-cidr=192.168.176.0/24 --fixed-cidr-v6=fdd1:8161:2d2c::/64", false,
			"192.168.176.0/20 192.168.176.0/24 192.168.176.88, fdd1:8161:2d2c::/56 fdd1:8161:2d2c::/64 fdd1:8161:2d2c::8888", "", ""},
		"link-local fixed-cidr-v6": {"", "--fixed-cidr-v6=fe80::/64", false, "fe80::/64 fe80::/64 fe80::42:ff:fe00:1", "", ""},
		"another link-local one": {"192.168.176.88/20 fe80:1234::88/56", "--fixed-cidr=192.168.176.0/24 --fixed-cidr-v6=fe80:1234::/64", false,
			"192.168.176.0/20 192.168.176.0/24 192.168.176.88, fe80:1234::/56 fe80:1234::/64 fe80:1234::88", "", ""},
		"with a new bip": {"192.168.176.88/20 fdd1:8161:2d2c::/56", "--fixed-cidr=192.168.176.0/24 --bip=192.168.176.99/24 --fixed-cidr-v6=fdd1:8161:2d2c::/64 --bip6=fdd1:8161:2d2c::9999/64", false,
			"192.168.176.0/24 192.168.176.0/24 192.168.176.99, fdd1:8161:2d2c::/64 fdd1:8161:2d2c::/64 fdd1:8161:2d2c::9999", "", ""},
		"the old subnet in fixed-cidr": {"192.168.176.88/24 fdd1:8161:2d2c::8888/64", "--fixed-cidr=192.168.176.0/20 --fixed-cidr-v6=fdd1:8161:2d2c::/56", false,
			"192.168.176.0/20 192.168.176.0/20 192.168.176.88, fdd1:8161:2d2c::/56 fdd1:8161:2d2c::/56 fdd1:8161:2d2c::8888", "", ""},
		"the old subnet outside": {"192.168.176.88/24 fdd1:8161:2d2c::8888/64", "--fixed-cidr=192.168.177.0/24 --fixed-cidr-v6=fdd1:8161:2d2c:1::/64", false,
			"192.168.177.0/24 192.168.177.0/24 -, fdd1:8161:2d2c:1::/64 fdd1:8161:2d2c:1::/64 -", "", ""},
		"a user's": {"192.168.160.88/20 192.168.176.88/20 192.168.192.88/20 fdd1:8161:2d2c::8888/60 fdd1:8161:2d2c:10::8888/60", "--fixed-cidr=192.168.177.0/24 --fixed-cidr-v6=fdd1:8161:2d2c:11::8888/64", true,
			"192.168.176.0/20 192.168.177.0/24 192.168.176.88, fdd1:8161:2d2c:10::/60 fdd1:8161:2d2c:11::/64 fdd1:8161:2d2c:10::8888", "", ""},
		"a user's, link-local": {"192.168.176.88/20", "--fixed-cidr=192.168.176.0/24 --fixed-cidr-v6=fe80::/64", true,
			"192.168.176.0/20 192.168.176.0/24 192.168.176.88, fe80::/64 fe80::/64 fe80::42:ff:fe00:1", "", ""},
		"a user's, smaller than fixed-cidr": {"192.168.176.88/24", "--fixed-cidr=192.168.176.0/20", true, "192.168.176.0/24 - 192.168.176.88",
			"fixed-cidr=192.168.176.0/20 is outside any subnet implied by addresses on the user-managed default bridge", ""},
		"a user's, beside fixed-cidr": {"192.168.160.88/20", "--fixed-cidr=192.168.176.0/24", true, "192.168.160.0/20 - 192.168.160.88",
			"fixed-cidr=192.168.176.0/24 is outside any subnet implied by addresses on the user-managed default bridge", ""},
		"a user's, beside fixed-cidr-v6": {"fdd1:8161:2d2c::8888/60", "--fixed-cidr-v6=fdd1:8161:2d2c:10::/64", true, "", "",
			"fixed-cidr-v6=fdd1:8161:2d2c:10::/64 is outside any subnet implied by addresses on the user-managed default bridge"},
	} {
		d := networks.Device{Users: c.users, There: true}
		for _, a := range append([]string{kernels}, strings.Fields(c.addrs)...) {
			d.Addrs = append(d.Addrs, netip.MustParsePrefix(a))
		}
		settled, ignored, err := bridgeSettings(parse(t, strings.Fields(c.flags)...)).Settle(d)
		if c.fails != "" {
			if err == nil || err.Error() != c.fails {
				t.Errorf("%s: error %v, want %s", name, err, c.fails)
			}
			continue
		}
		if err != nil || c.ignored == "" != (ignored == nil) || ignored != nil && ignored.Error() != c.ignored {
			t.Errorf("%s: error %v, ignored %v", name, err, ignored)
		}
		var got []string
		for _, p := range settled.Network().IPAM.Pools {
			text := fmt.Sprint(p.Subnet, " ", p.Range, " ", p.Gateway)
			got = append(got, strings.NewReplacer("invalid Prefix", "-", "invalid IP", "-").Replace(text))
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %s\nwant %s", name, strings.Join(got, ", "), c.want)
		}
	}
}

func TestABridgeThatIsNotThere(t *testing.T) {
	_, err := findDevice(bridgeSettings(parse(t, "--bridge=br-not-there")))
	if err == nil || err.Error() != "bridge device with non default name br-not-there must be created manually" {
		t.Error(err)
	}
}
