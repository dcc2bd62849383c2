package ocispec

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
)

// TestDevices: what is no device is refused, in Docker's words.
func TestDevices(t *testing.T) {
	for source, text := range map[string]string{
		"/dev/null":    "",
		"/etc":         `error gathering device information while adding custom device "/etc": not a device node`,
		"/etc/passwd":  `error gathering device information while adding custom device "/etc/passwd": not a device node`,
		"/nonexistent": `error gathering device information while adding custom device "/nonexistent": lstat /nonexistent: no such file or directory`,
	} {
		spec := testSpec()
		spec.Devices = []model.Device{{Source: source}}
		_, err := Build(spec, specs.User{}, testHost())
		switch {
		case text == "" && err != nil:
			t.Errorf("%s: %v", source, err)
		case text != "" && (model.KindOf(err) != model.Invalid || err == nil || !strings.Contains(err.Error(), text)):
			t.Errorf("%s: %v, want %q", source, err, text)
		}
	}
}

func TestDeviceRules(t *testing.T) {
	got, err := deviceRules([]string{"c 13:* rwm", "a *:* m", "b 8:1 r"})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "rules", got, []specs.LinuxDeviceCgroup{allowDevice("c", 13, -1, "rwm"), allowDevice("a", -1, -1, "m"), allowDevice("b", 8, 1, "r")})
	for _, bad := range []string{"", "c 13:*", "x 1:1 r", "c 1:1 rwmr", "c 1:1 x", "c -1:1 r", "c 99999999999:1 r", "c 1:1 r\nc 1:2 r"} {
		spec := testSpec()
		spec.DeviceRules = []string{bad}
		host := testHost()
		if err := host.Check(spec); model.KindOf(err) != model.Invalid || !strings.Contains(err.Error(), "invalid device cgroup rule format: '"+bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzDeviceRules(f *testing.F) {
	f.Add("c 13:* rwm")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := deviceRules([]string{text})
		if err == nil && (len(got) != 1 || !got[0].Allow || *got[0].Major < -1) {
			t.Fatalf("%q: %+v", text, got)
		}
	})
}
