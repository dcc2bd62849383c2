package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// withFile writes a daemon.json and returns the flag that names it.
func withFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "--config-file=" + path
}

func TestFlagsAndFileMeanTheSame(t *testing.T) {
	none := withFile(t, "{}")
	byFlag, err := Parse([]string{none, "--host=unix:///a.sock", "-H", "tcp://127.0.0.1:1", "--bip=10.1.0.1/24", "--icc=false", "--mtu=1400", "--init", "--init-path=/opt/init",
		"--dns=192.0.2.1", "--dns=192.0.2.2", "--dns-search=a.test", "--dns-opt=ndots:2", "--log-opt=max-size=1m",
		"--default-address-pool=base=10.10.0.0/16,size=24", "--default-network-opt=bridge=com.docker.network.driver.mtu=1300"})
	if err != nil {
		t.Fatal(err)
	}
	byFile, err := Parse([]string{withFile(t, `{
		"hosts": ["unix:///a.sock", "tcp://127.0.0.1:1"], "bip": "10.1.0.1/24", "icc": false, "mtu": 1400, "init": true, "init-path": "/opt/init",
		"dns": ["192.0.2.1", "192.0.2.2"], "dns-search": ["a.test"], "dns-opts": ["ndots:2"], "log-opts": {"max-size": "1m"},
		"default-address-pools": [{"base": "10.10.0.0/16", "size": 24}],
		"default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1300"}},
		"features": {"time-namespaces": false}}`)})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(byFlag, byFile) {
		t.Errorf("flags:\n%+v\nfile:\n%+v", byFlag, byFile)
	}
	if byFlag.BIP != netip.MustParsePrefix("10.1.0.1/24") || byFlag.ICC || byFlag.Pools[0].Size != 24 || !byFlag.Init || byFlag.InitPath != "/opt/init" || len(byFlag.DNS) != 2 {
		t.Errorf("not what was asked for: %+v", byFlag)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ args, file, want string }{
		{"--no-such-flag", "{}", "unknown flag: --no-such-flag"},
		{"extra", "{}", "unexpected argument"},
		{"--bip=nonsense", "{}", "bip"},
		{"--dns=nonsense", "{}", "nonsense is not an ip address"},
		{"--mtu=1400", `{"mtu": 1300}`, "both as a flag and in the configuration file: mtu"},
		{"", `{"odd": 1}`, "don't match any configuration option: odd"},
		{"", `{"mtu": {}}`, "mtu: unexpected value"},
		{"", `{`, "unexpected end of JSON"},
		{"--firewall-backend=iptables", "{}", "this version has the nftables backend only"},
		{"--firewall-backend=odd", "{}", `allowed values are "iptables" and "nftables"`},
		{"--bridge=br0 --bip=10.0.0.1/8", "{}", "You specified -b & --bip"},
		{"--icc=false --iptables=false", "{}", "You specified --iptables=false with --icc=false"},
		{"--selinux-enabled", "{}", "not supported by this version: --selinux-enabled"},
		{"", `{"userns-remap": "default"}`, "not supported by this version: --userns-remap"},
		{"--log-driver=syslog", "{}", "no log driver named 'syslog' is registered"},
		{"--default-address-pool=base=10.0.0.0/16,size=8", "{}", "size must be between the base's 16 and 32 bits"},
		{"--default-address-pool=odd=1", "{}", `unknown field "odd"`},
		{"--bip=fd00::1/64", "{}", "--bip, --fixed-cidr and --default-gateway are for IPv4"},
		{"--default-gateway-v6=10.0.0.1", "{}", "--bip6, --fixed-cidr-v6 and --default-gateway-v6 are for IPv6"},
		{"--fixed-cidr-v6=fe80::/65", "{}", "'fe80::/65' clashes with the Link-Local prefix 'fe80::/64'"},
		{"", `{"min-api-version": "1.23"}`, "minimum supported API version is 1.24: 1.23"},
		{"", `{"min-api-version": "v1.44"}`, `invalid API version "v1.44"`},
		{"--validate", `{"odd": 1}`, "don't match any configuration option: odd"},
		{"--config-file=/does/not/exist", "", "no such file"},
	} {
		args := strings.Fields(c.args)
		if c.file != "" {
			args = append(args, withFile(t, c.file))
		}
		if _, err := Parse(args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: error %v, want %q", c.args, c.file, err, c.want)
		}
	}
}

func TestHarmlessFlagsAreTaken(t *testing.T) {
	if _, err := Parse([]string{withFile(t, `{"userland-proxy": false}`), "--experimental", "--selinux-enabled=false"}); err != nil {
		t.Error(err)
	}
}

func TestSettingsOfTheAPI(t *testing.T) {
	c, err := Parse([]string{withFile(t, `{"min-api-version": "1.44"}`), "--validate"})
	if err != nil || c.OldestAPI != 44 || !c.Validate {
		t.Errorf("%+v, error %v", c, err)
	}
	if c, err := Parse([]string{withFile(t, `{}`)}); err != nil || c.OldestAPI != 0 || c.Validate {
		t.Errorf("by default: %+v, error %v", c, err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add(`{"hosts": ["unix:///a"], "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse([]string{withFile(t, text)})
		if err == nil && len(c.Hosts) == 0 {
			t.Error("a configuration without a socket")
		}
	})
}
