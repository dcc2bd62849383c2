package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// harmless are flags of dockerd that ask for nothing that differs here, and why;
// they are taken and need no effect.
var harmless = map[string]string{
	"userland-proxy":               "published ports need no proxy process",
	"userland-proxy-path":          "published ports need no proxy process",
	"experimental":                 "nothing is hidden behind it",
	"raw-logs":                     "logs have no colours",
	"max-concurrent-downloads":     "images are loaded one at a time",
	"max-concurrent-uploads":       "images are loaded one at a time",
	"max-download-attempts":        "images are loaded, not pulled",
	"containerd-namespace":         "containers are kept in their own namespace",
	"containerd-plugins-namespace": "there are no managed plugins",
	"network-control-plane-mtu":    "there is no gossip on this host",
	"swarm-default-advertise-addr": "there is no swarm mode",
	"storage-driver":               "containerd's overlayfs snapshotter is used",
	"oom-score-adjust":             "the daemon keeps the score it was started with",
	"insecure-registry":            "images are loaded, not pulled",
	"registry-mirror":              "images are loaded, not pulled",
	"api-cors-header":              "the API sends no CORS headers",
}

// unsupported are flags of dockerd whose effect a user would miss.
var unsupported = []string{
	"bridge-accept-fwmark",
	"selinux-enabled",
	"userns-remap",
	"default-runtime",
	"add-runtime",
	"default-ulimit",
	"default-shm-size",
	"default-ipc-mode",
	"default-cgroupns-mode",
	"cgroup-parent",
	"seccomp-profile",
	"no-new-privileges",
	"storage-opt",
	"exec-opt",
	"authorization-plugin",
	"tls",
	"tlsverify",
	"tlscacert",
	"tlscert",
	"tlskey",
	"cpu-rt-period",
	"cpu-rt-runtime",
	"metrics-addr",
	"network-diagnostic-port",
	"node-generic-resource",
	"rootless",
	"http-proxy",
	"https-proxy",
	"no-proxy",
}

// defineUnsupported declares dockerd's other flags, so that they are recognised
// and answered with a sentence instead of "unknown flag".
func defineUnsupported(flags *pflag.FlagSet) {
	for _, name := range append(slices.Collect(maps.Keys(harmless)), unsupported...) {
		flags.String(name, "", "")
		flag := flags.Lookup(name)
		flag.NoOptDefVal = "true" // most are switches: --selinux-enabled
		flag.Hidden = true
	}
}

// refuseUnsupported fails if a flag was given whose effect the user would miss.
func refuseUnsupported(flags *pflag.FlagSet) error {
	var missing []string
	for _, name := range unsupported {
		f := flags.Lookup(name)
		if off := f.Value.String() == "false" || f.Value.String() == ""; f.Changed && !off {
			missing = append(missing, "--"+name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not supported by this version: %s; leave out the flags or the keys of the same name in the configuration file", strings.Join(missing, ", "))
	}
	return nil
}
