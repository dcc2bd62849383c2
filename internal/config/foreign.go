package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// form is how the value of a flag is written.
type form int

// The forms of dockerd's flags. Only a truth value may be left out.
const (
	truth form = iota
	text
	number
	list
)

// foreign is a flag of dockerd that has no effect here.
type foreign struct {
	name, short string
	form        form
	// why says why there need not be an effect; without it a user would miss it.
	why string
	// same are the values that ask for what is done anyway, besides none at all.
	same []string
	// check says what is wrong with a value that not even dockerd would take.
	check func(value string) error
}

// foreignFlags are all of them.
var foreignFlags = []foreign{
	{name: "userland-proxy", form: truth, why: "published ports need no proxy process"},
	{name: "userland-proxy-path", form: text, why: "published ports need no proxy process", check: proxyPath},
	{name: "experimental", form: truth, why: "nothing is hidden behind it"},
	{name: "raw-logs", form: truth, why: "logs have no colours"},
	{name: "containerd-namespace", form: text, why: "containers are kept in their own namespace"},
	{name: "containerd-plugins-namespace", form: text, why: "there are no managed plugins"},
	{name: "network-control-plane-mtu", form: number, why: "hosts tell one another over TCP: there is no gossip"},
	{name: "storage-driver", short: "s", form: text, why: "containerd's snapshotter is used"},
	{name: "oom-score-adjust", form: number, why: "the daemon keeps the score it was started with"},
	{name: "api-cors-header", form: text, why: "the API sends no CORS headers"},
	{name: "restart", short: "r", form: truth, why: "containers have restart policies"},
	{name: "cdi-spec-dir", form: list, why: "a container that asks for a device is refused"},
	{name: "builder", form: text, why: "the build cache has limits that go with the disk"},
	{name: "deprecated-key-path", form: text, why: "there are no signed images"},
	{name: "allow-nondistributable-artifacts", form: list, why: "there are none any more"},

	{name: "selinux-enabled", form: truth},
	{name: "userns-remap", form: text},
	{name: "default-ulimit", form: list},
	{name: "default-ipc-mode", form: text, same: []string{"private"}, check: ipcMode},
	{name: "cgroup-parent", form: text},
	{name: "seccomp-profile", form: text, same: []string{"builtin"}},
	{name: "no-new-privileges", form: truth},
	{name: "storage-opt", form: list},
	{name: "exec-opt", form: list, same: []string{"native.cgroupdriver=cgroupfs"}},
	{name: "authorization-plugin", form: list},
	{name: "cpu-rt-period", form: number},
	{name: "cpu-rt-runtime", form: number},
	{name: "network-diagnostic-port", form: number, check: diagnosticPort},
	{name: "node-generic-resource", form: list},
	{name: "rootless", form: truth},
	{name: "cri-containerd", form: truth},
	{name: "nri-opts", form: text},
	{name: "default-stop-timeout", form: number, same: []string{"10"}},
}

// defineForeign declares dockerd's other flags, so that they are read as it reads
// them and answered with a sentence instead of "unknown flag".
func defineForeign(flags *pflag.FlagSet) {
	for _, f := range foreignFlags {
		switch f.form {
		case truth:
			flags.BoolP(f.name, f.short, false, f.why)
		case text:
			flags.StringP(f.name, f.short, "", f.why)
		case number:
			flags.Int64P(f.name, f.short, 0, f.why)
		case list:
			flags.StringArrayP(f.name, f.short, nil, f.why)
		}
		flags.Lookup(f.name).Hidden = true
	}
}

// refuseUnsupported fails if a flag was given whose effect the user would miss.
func refuseUnsupported(flags *pflag.FlagSet) error {
	var missing []string
	for _, f := range foreignFlags {
		for _, value := range valuesGiven(flags.Lookup(f.name)) {
			if f.check != nil {
				if err := f.check(value); err != nil {
					return err
				}
			}
			if f.why == "" && !slices.Contains(f.same, value) && !slices.Contains(missing, "--"+f.name) {
				missing = append(missing, "--"+f.name)
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not supported by this version: %s; leave out the flags or the keys of the same name in the configuration file", strings.Join(missing, ", "))
	}
	return nil
}

// WithoutEffect says of each flag of dockerd's that was given, and that has no effect
// here, why there need not be one.
func (c Config) WithoutEffect() []string {
	var out []string
	for _, f := range foreignFlags {
		if _, given := c.given[f.name]; given && f.why != "" {
			out = append(out, fmt.Sprintf("--%s has no effect: %s", f.name, f.why))
		}
	}
	return out
}

// valuesGiven returns the values of a flag that ask for something.
func valuesGiven(f *pflag.Flag) []string {
	if !f.Changed {
		return nil
	}
	if many, ok := f.Value.(pflag.SliceValue); ok {
		return many.GetSlice()
	}
	switch value := f.Value.String(); value {
	case "", "0", "false":
		return nil
	default:
		return []string{value}
	}
}

func proxyPath(value string) error {
	if !filepath.IsAbs(value) {
		return fmt.Errorf("invalid userland-proxy-path: must be an absolute path: %s", value)
	}
	return nil
}

func ipcMode(value string) error {
	switch value {
	case "private", "shareable":
		return nil
	case "none", "host", "container":
		return fmt.Errorf(`IPC mode "%s" is not supported as default value; use "shareable" or "private"`, value)
	}
	return fmt.Errorf(`default IPC mode setting (%s) is invalid; use "shareable" or "private"`, value)
}

func diagnosticPort(value string) error {
	if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("invalid network-diagnostic-port (%s): value must be between 0 and 65535", value)
	}
	return nil
}
