package config

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestReload: what is taken over, what waits, and what a bad file changes.
func TestReload(t *testing.T) {
	start := `{"labels": ["a=b"], "mtu": 1400, "max-concurrent-downloads": 7, "features": {"x": true}}`
	for name, c := range map[string]struct {
		file             string
		changed, waiting string
		fails            string
	}{
		"the same": {file: start},
		"all that can": {file: `{"debug": true, "labels": ["a=c", "d=e"], "live-restore": false, "shutdown-timeout": 30, "mtu": 1400, "insecure-registries": ["h:1"],
			"registry-mirrors": ["http://m"], "max-concurrent-downloads": 1, "max-concurrent-uploads": 2, "max-download-attempts": 4, "features": {"y": false},
			"runtimes": {"crun": {"path": "/usr/bin/crun"}}, "default-runtime": "crun", "default-shm-size": "1M", "default-cgroupns-mode": "host"}`,
			changed: `debug=true default-cgroupns-mode=host default-runtime=crun default-shm-size=1048576 features=map[y:false] insecure-registries=["h:1"] labels=["a=c","d=e"] live-restore=false max-concurrent-downloads=1 ` +
				`max-concurrent-uploads=2 max-download-attempts=4 registry-mirrors=["http://m/"] runtimes=runc:runc crun:/usr/bin/crun shutdown-timeout=30`},
		"a runtime that is not there": {file: `{"default-runtime": "crun"}`, fails: "specified default runtime 'crun' does not exist"},
		"TLS has to wait":             {file: start[:1] + `"tlscert": "/x", ` + start[1:], waiting: "tlscert"},
		"no longer in the file":       {file: `{"mtu": 1400}`, changed: "features=map[] max-concurrent-downloads=3"},
		"an empty file":               {file: "", changed: "features=map[] max-concurrent-downloads=3", waiting: "mtu"},
		"what has to wait":            {file: `{"labels": ["a=b"], "mtu": 1300, "bip": "10.0.0.1/8", "max-concurrent-downloads": 7, "features": {"x": true}}`, waiting: "bip mtu"},
		"no JSON":                     {file: `{"labels": ["x=y"], `, fails: "invalid JSON: unexpected end of JSON input"},
		"an unknown key":              {file: `{"labels": ["x=y"], "odd": 1}`, fails: "don't match any configuration option: odd"},
		"what a flag says":            {file: `{"labels": ["x=y"], "ipv6": false}`, fails: "both as a flag and in the configuration file: ipv6: (from flag: true, from file: false)"},
		"what there is not":           {file: `{"labels": ["x=y"], "authorization-plugins": ["y"]}`, fails: "not supported by this version: --authorization-plugin"},
		"a bad value":                 {file: `{"labels": ["x=y", "x=z"]}`, fails: "conflict labels for x=z and x=y"},
	} {
		flag := withFile(t, start)
		args := []string{flag, "--ipv6"}
		c0, err := Parse(args)
		if err != nil {
			t.Fatal(err)
		}
		before := c0.Attributes()
		if err := os.WriteFile(strings.TrimPrefix(flag, "--config-file="), []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := c0.Reload(args, c0.Settings)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) || !reflect.DeepEqual(c0.Attributes(), before) {
				t.Errorf("%s: error %v, want %s", name, err, c.fails)
			}
			continue
		}
		if err != nil || strings.Join(got.Changed, " ") != c.changed || strings.Join(got.Waiting, " ") != c.waiting {
			t.Errorf("%s: changed %v, waiting %v, error %v", name, got.Changed, got.Waiting, err)
		}
		if !reflect.DeepEqual(c0.Attributes(), before) {
			t.Errorf("%s: the settings in use were changed in place", name)
		}
	}
}

// TestReloadKeepsWhatWasReloaded: a setting that leaves the file stays as the last
// file had it.
func TestReloadKeepsWhatWasReloaded(t *testing.T) {
	flag := withFile(t, `{"debug": true}`)
	c, err := Parse([]string{flag})
	if err != nil {
		t.Fatal(err)
	}
	now := c.Settings
	now.Labels, now.ShutdownTimeout = []string{"kept=yes"}, 99
	got, err := c.Reload([]string{flag}, now)
	if err != nil || got.Settings.ShutdownTimeout != 99 || len(got.Settings.Labels) != 1 || len(got.Changed) != 0 {
		t.Errorf("%+v (%v)", got, err)
	}
}
