package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/model"
)

// parse reads flags as the daemon does, without the machine's own daemon.json.
func parse(t *testing.T, flags ...string) config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(append([]string{"--config-file=" + file}, flags...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaultBridge(t *testing.T) {
	for _, c := range []struct {
		flags string
		check func(model.Network) bool
	}{
		{"", func(n model.Network) bool {
			return n.Name == "bridge" && n.IPv4 && !n.IPv6 && len(n.IPAM.Pools) == 0 && n.Options["com.docker.network.bridge.name"] == "docker0" &&
				n.Options["com.docker.network.driver.mtu"] == "1500" && n.Options["com.docker.network.bridge.host_binding_ipv4"] == "0.0.0.0"
		}},
		{"--bridge=none", func(n model.Network) bool { return n.Name == "" }},
		{"--bridge=br7", func(n model.Network) bool { return n.Options["com.docker.network.bridge.name"] == "br7" }},
		{"--bip=10.1.2.3/24", func(n model.Network) bool {
			p := n.IPAM.Pools[0]
			return p.Subnet == netip.MustParsePrefix("10.1.2.0/24") && p.Gateway == netip.MustParseAddr("10.1.2.3")
		}},
		{"--bip=10.1.2.3/24 --fixed-cidr=10.1.2.128/25", func(n model.Network) bool {
			return n.IPAM.Pools[0].Range == netip.MustParsePrefix("10.1.2.128/25")
		}},
		{"--bip=10.1.2.3/24 --default-gateway=10.1.2.9", func(n model.Network) bool {
			return n.IPAM.Pools[0].Aux["DefaultGatewayIPv4"] == netip.MustParseAddr("10.1.2.9")
		}},
		{"--default-gateway=172.17.0.9 --default-gateway-v6=fd00::9", func(n model.Network) bool {
			four, six := n.IPAM.Pools[0], n.IPAM.Pools[1]
			return four.Subnet.String() == "0.0.0.0/0" && four.Aux["DefaultGatewayIPv4"] == netip.MustParseAddr("172.17.0.9") &&
				six.Subnet.String() == "::/0" && six.Aux["DefaultGatewayIPv6"] == netip.MustParseAddr("fd00::9") && !n.IPv6
		}},
		{"--fixed-cidr-v6=2001:db8:7::/64", func(n model.Network) bool {
			return n.IPv6 && n.IPAM.Pools[0].Subnet == netip.MustParsePrefix("2001:db8:7::/64")
		}},
		{"--icc=false --ip=127.0.0.1 --ip-masq=false", func(n model.Network) bool {
			return n.Options["com.docker.network.bridge.enable_icc"] == "false" && n.Options["com.docker.network.bridge.host_binding_ipv4"] == "127.0.0.1" &&
				n.Options["com.docker.network.bridge.enable_ip_masquerade"] == "false"
		}},
	} {
		if n := bridgeSettings(parse(t, strings.Fields(c.flags)...)).Network(); !c.check(n) {
			t.Errorf("%s: %+v", c.flags, n)
		}
	}
}

func TestNetworkDefaults(t *testing.T) {
	got, err := networkDefaults([]string{"bridge=com.docker.network.driver.mtu=1300", "bridge=a=b=c"})
	if err != nil || got["bridge"]["com.docker.network.driver.mtu"] != "1300" || got["bridge"]["a"] != "b=c" {
		t.Errorf("%v (%v)", got, err)
	}
	if _, err := networkDefaults([]string{"bridge"}); err == nil || !strings.Contains(err.Error(), "write driver=key=value") {
		t.Errorf("error %v", err)
	}
}

func TestUniqueLocalPrefixBelongsToTheEngine(t *testing.T) {
	a, b := uniqueLocal("one"), uniqueLocal("two")
	if a == b || a != uniqueLocal("one") || a.Bits() != 48 || !netip.MustParsePrefix("fd00::/8").Contains(a.Addr()) || a.Masked() != a {
		t.Errorf("prefixes %s and %s: want two different /48 of fd00::/8", a, b)
	}
}
