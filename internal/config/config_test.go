package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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
	byFlag, err := Parse([]string{none, "--host=unix:///a.sock", "-H", "tcp://127.0.0.1:1", "--insecure", "--bip=10.1.0.1/24", "--icc=false", "--mtu=1400", "--init", "--init-path=/opt/init",
		"--dns=192.0.2.1", "--dns=192.0.2.2", "--dns-search=a.test", "--dns-opt=ndots:2", "--log-opt=max-size=1m",
		"--default-address-pool=base=10.10.0.0/16,size=24", "--default-network-opt=bridge=com.docker.network.driver.mtu=1300",
		"--label=a=b", "--feature=x", "--insecure-registry", "h:1", "--registry-mirror", "http://m", "-D", "--shutdown-timeout=7"})
	if err != nil {
		t.Fatal(err)
	}
	byFile, err := Parse([]string{withFile(t, `{
		"hosts": ["unix:///a.sock", "tcp://127.0.0.1:1"], "insecure": true, "bip": "10.1.0.1/24", "icc": false, "mtu": 1400, "init": true, "init-path": "/opt/init",
		"dns": ["192.0.2.1", "192.0.2.2"], "dns-search": ["a.test"], "dns-opts": ["ndots:2"], "log-opts": {"max-size": "1m"},
		"default-address-pools": [{"base": "10.10.0.0/16", "size": 24}],
		"default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1300"}},
		"labels": ["a=b"], "features": {"x": true}, "insecure-registries": ["h:1"], "registry-mirrors": ["http://m/"], "debug": true, "shutdown-timeout": 7}`)})
	if err != nil {
		t.Fatal(err)
	}
	byFlag.ConfigFile, byFile.ConfigFile = "", ""
	if !reflect.DeepEqual(byFlag.Settings, byFile.Settings) || !byFlag.Debug {
		t.Errorf("%+v and %+v", byFlag.Settings, byFile.Settings)
	}
	byFlag.given, byFile.given = nil, nil // a mirror's slash is put there afterwards
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
		{"--firewall-backend=odd", "{}", `allowed values are "iptables" and "nftables"`},
		{"--bridge=br0 --bip=10.0.0.1/8", "{}", "You specified -b & --bip"},
		{"--icc=false --iptables=false", "{}", "You specified --iptables=false with --icc=false"},
		{"--icc=false --ipv6 --ip6tables=false", "{}", "You specified --ip6tables=false with --icc=false. ICC=false uses ip6tables to function. Please set --icc or --ip6tables to true"},
		{"--bridge-accept-fwmark=x", "{}", `invalid firewall mark "x": strconv.ParseUint: parsing "x": invalid syntax`},
		{"--bridge-accept-fwmark=0x100000000", "{}", `invalid firewall mark "0x100000000"`},
		{"", `{"bridge-accept-fwmark": "1/y"}`, `invalid firewall mask "1/y"`},
		{"--userland-proxy-path=docker-proxy", "{}", "invalid userland-proxy-path: must be an absolute path: docker-proxy"},
		{"--publish-policy=public", "{}", `invalid publish-policy: "public"; choose any, private or localhost`},
		{"", `{"publish-policy": ""}`, "invalid publish-policy"},
		{"--firewall-respect=all", "{}", `invalid firewall-respect: "all"; choose none or host`},
		{"--selinux-enabled", "{}", "not supported by this version: --selinux-enabled"},
		{"", `{"userns-remap": "default"}`, "not supported by this version: --userns-remap"},
		{"--mtu=1400", `{"mtu": 1300}`, "mtu: (from flag: 1400, from file: 1300)"},
		{"--label=a=b", `{"labels": ["c=d", "e=f"]}`, "labels: (from flag: [a=b], from file: c=d e=f)"},
		{"--log-opt=max-size", "{}", "write key=value"},
		{"--log-driver=splunk", "{}", "no log driver named 'splunk' is registered"},
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

// TestForeignFlags: dockerd's other flags are written as dockerd reads them, a
// value after a blank too (D20).
func TestForeignFlags(t *testing.T) {
	for _, f := range foreignFlags {
		if f.form == truth {
			for args, taken := range map[string]bool{"--" + f.name: f.why != "", "--" + f.name + "=false": true} {
				if _, err := Parse([]string{withFile(t, "{}"), args}); (err == nil) != taken {
					t.Errorf("%s: %v", args, err)
				}
			}
			continue
		}
		value := map[form]string{text: "some", number: "7", list: "some=thing"}[f.form]
		if f.check != nil {
			value = map[string]string{"default-ipc-mode": "shareable", "default-cgroupns-mode": "host", "network-diagnostic-port": "7", "userland-proxy-path": "/usr/bin/docker-proxy"}[f.name]
		}
		for _, args := range [][]string{{"--" + f.name, value}, {"--" + f.name + "=" + value}} {
			_, err := Parse(append([]string{withFile(t, "{}")}, args...))
			if f.why != "" && err != nil || f.why == "" && (err == nil || !strings.HasPrefix(err.Error(), "not supported by this version: --"+f.name+";")) {
				t.Errorf("%v: %v", args, err)
			}
		}
		for _, same := range f.same {
			if _, err := Parse([]string{withFile(t, "{}"), "--" + f.name, same}); err != nil {
				t.Errorf("--%s %s: %v", f.name, same, err)
			}
		}
	}
	for args, want := range map[string]string{
		"--default-cgroupns-mode odd":     `invalid default cgroup namespace (odd): use "host" or "private"`,
		"--default-ipc-mode host":         `IPC mode "host" is not supported as default value; use "shareable" or "private"`,
		"--default-ipc-mode odd":          `default IPC mode setting (odd) is invalid; use "shareable" or "private"`,
		"--network-diagnostic-port 70000": "invalid network-diagnostic-port (70000): value must be between 0 and 65535",
		"--network-diagnostic-port x":     `invalid argument "x" for "--network-diagnostic-port" flag`,
		"--storage-driver":                "flag needs an argument: --storage-driver",
		"--selinux-enabled true":          "not supported by this version: --selinux-enabled",
		"--experimental true":             `unexpected argument "true"`,
	} {
		if _, err := Parse(append([]string{withFile(t, "{}")}, strings.Fields(args)...)); err == nil || !strings.Contains(err.Error(), want) {
			if args != "--selinux-enabled true" { // the argument that is one too many is said first
				t.Errorf("%s: error %v, want %s", args, err, want)
			}
		}
	}
	for _, args := range [][]string{{"-s", "overlay2"}, {"--storage-driver", "overlay2", "--containerd-namespace", "moby", "--default-cgroupns-mode", "private", "-r=false"}} {
		if _, err := Parse(append([]string{withFile(t, "{}")}, args...)); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// TestFilesOfDockerd: what stands in real ones.
func TestFilesOfDockerd(t *testing.T) {
	for file, want := range map[string]string{
		`{"userland-proxy": false, "experimental": true, "builder": {"gc": {"enabled": true}}, "cdi-spec-dirs": ["/etc/cdi"], "allow-nondistributable-artifacts": []}`: "",
		"\ufeff{\"mtu\": 1400}\n": "",
		` `:                       "",
		`{"exec-opts": ["native.cgroupdriver=cgroupfs"], "log-opts": {"max-size": "10m", "labels": "a,b"}, "storage-driver": "overlay2"}`: "",
		`{"exec-opts": ["native.cgroupdriver=systemd"]}`:                                                                 "not supported by this version: --exec-opt;",
		`{"default-runtime": "nvidia", "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}}}`: "",
		`{"default-runtime": "nvidia"}`:                                                                                  "specified default runtime 'nvidia' does not exist",
		`{"runtimes": {"x": {}}}`:                                                                                        "runtime x: either a runtimeType or a path must be configured",
		`{"runtimes": {}, "default-ulimits": {}}`:                                                                        "",
		`{"default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 64000}}}`:                              "not supported by this version: --default-ulimit;",
		`{"features": {"containerd-snapshotter": true}, "insecure-registries": ["127.0.0.1:5000", "10.0.0.0/8"], "registry-mirrors": ["https://m.test"]}`: "",
		`{"features": ["x"]}`:                          "features: json: cannot unmarshal array",
		`{"labels": ["a"]}`:                            "bad attribute format: a",
		`{"labels": ["a=1", "a=2"]}`:                   "conflict labels for a=2 and a=1",
		`{"labels": ["com.docker.x=1"]}`:               "label com.docker.x=1 is not allowed: the namespaces com.docker.*, io.docker.*, and org.dockerproject.* are reserved for internal use",
		`{"registry-mirrors": ["m.test:5000"]}`:        "invalid mirror: no scheme specified for \"m.test:5000\": must use either 'https://' or 'http://'",
		`{"registry-mirrors": ["https://u:p@m.test"]}`: `invalid mirror: username/password not allowed in URI "https://u:xxxxx@m.test"`,
		`{"registry-mirrors": ["https://m.test/?x"]}`:  "invalid mirror: query or fragment at end of the URI",
		`{"insecure-registries": ["-x"]}`:              "invalid index name (-x). Cannot begin or end with a hyphen",
		`{"max-concurrent-downloads": -1}`:             "invalid max concurrent downloads: -1",
		`{"max-concurrent-uploads": -1}`:               "invalid max concurrent uploads: -1",
		`{"max-download-attempts": "x"}`:               "max-download-attempts: ",
		`{"log-level": "loud"}`:                        "invalid logging level: loud",
		`{"log-format": "xml"}`:                        "invalid log format: xml",
		`{"default-shm-size": "lots"}`:                 "invalid size: 'lots'",
		`{"validate": true}`:                           "the following directives don't match any configuration option: validate",
		`["mtu"]`:                                      "invalid JSON: json: cannot unmarshal array",
	} {
		_, err := Parse([]string{withFile(t, file)})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q", file, err, want)
		}
	}
}

// TestSizes: dockerd's forms of a number of bytes.
func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"64M": 64 << 20, "64m": 64 << 20, "64MB": 64 << 20, "64MiB": 64 << 20, "1.5g": 3 << 29, "1024": 1024, "2 k": 2048, "7b": 7} {
		if c, err := Parse([]string{withFile(t, "{}"), "--default-shm-size", text}); err != nil || c.ShmSize != want {
			t.Errorf("%s: %d (%v), want %d", text, c.ShmSize, err, want)
		}
	}
	for _, text := range []string{"", "-1", "M", "1x", "1,5g", "64 M B"} {
		if c, err := Parse([]string{withFile(t, "{}"), "--default-shm-size", text}); err == nil {
			t.Errorf("%q: %d", text, c.ShmSize)
		}
	}
}

func FuzzSize(f *testing.F) {
	f.Add("1.5g")
	f.Fuzz(func(t *testing.T, text string) {
		var n int64
		if err := (sizeValue{&n}).Set(text); err == nil && n < 0 {
			t.Errorf("%q is %d", text, n)
		}
	})
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

func TestMark(t *testing.T) {
	for text, want := range map[string]Mark{
		"7": {7, 0xffffffff}, "0x1068/0x1068": {0x1068, 0x1068}, "0b11/0xf": {3, 15}, "010": {8, 0xffffffff}, "0/0": {},
	} {
		c, err := Parse([]string{withFile(t, "{}"), "--bridge-accept-fwmark=" + text})
		if err != nil || c.AcceptMark == nil || *c.AcceptMark != want {
			t.Errorf("%s: %v %v, want %v", text, c.AcceptMark, err, want)
		}
	}
	if c, err := Parse([]string{withFile(t, "{}"), "--bridge-accept-fwmark="}); err != nil || c.AcceptMark != nil {
		t.Errorf("none: %v %v", c.AcceptMark, err)
	}
}

// TestWithoutFirewall: as with dockerd, masquerade goes with the rules of IPv4.
func TestWithoutFirewall(t *testing.T) {
	for args, masquerade := range map[string]bool{"": true, "--iptables=false": false, "--ip6tables=false": true, "--ip6tables=false --icc=false": true, "--ip-masq=false": false} {
		c, err := Parse(append([]string{withFile(t, "{}")}, strings.Fields(args)...))
		if err != nil || c.Masquerade != masquerade {
			t.Errorf("%s: %t %v, want %t", args, c.Masquerade, err, masquerade)
		}
	}
}

func TestWithoutEffect(t *testing.T) {
	c, err := Parse([]string{withFile(t, `{"userland-proxy": false}`), "--mtu=1400"})
	if want := []string{"--userland-proxy has no effect: published ports need no proxy process"}; err != nil || !slices.Equal(c.WithoutEffect(), want) {
		t.Errorf("%q %v, want %q", c.WithoutEffect(), err, want)
	}
}
