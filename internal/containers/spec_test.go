package containers

import (
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestWantsInit(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name     string
		host     container.HostConfig
		standard bool
		want     bool
	}{
		{"nobody asks", container.HostConfig{}, false, false},
		{"the user asks", container.HostConfig{Init: &yes}, false, true},
		{"the daemon's default", container.HostConfig{}, true, true},
		{"the user says no", container.HostConfig{Init: &no}, true, false},
		{"not process 1", container.HostConfig{Init: &yes, PidMode: "host"}, true, false},
	} {
		b := newBench(t)
		b.o.Defaults.Init = c.standard
		id := b.run("", func(r *CreateRequest) { r.Host.Init, r.Host.PidMode = c.host.Init, c.host.PidMode })
		for made, spec := range b.runtime.made {
			if string(made) == id && spec.Init != c.want {
				t.Errorf("%s: init %v", c.name, spec.Init)
			}
		}
		if got := b.inspect(id); got.Path != "sh" { // inspect shows the user's command
			t.Errorf("%s: path %q", c.name, got.Path)
		}
	}
}
