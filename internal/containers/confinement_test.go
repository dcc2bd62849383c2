package containers

import (
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

type confinement struct{}

func (confinement) SystemPaths() (masked, readonly []string) {
	return []string{"/proc/kcore"}, []string{"/proc/sys"}
}

// TestSystemPaths: what is masked is told, and what is asked for reaches the runtime.
func TestSystemPaths(t *testing.T) {
	for name, c := range map[string]struct {
		host             container.HostConfig
		masked, readonly []string
	}{
		"default":         {container.HostConfig{}, []string{"/proc/kcore"}, []string{"/proc/sys"}},
		"more":            {container.HostConfig{MaskedPaths: []string{"/proc/kcore", "/proc/cpuinfo"}}, []string{"/proc/kcore", "/proc/cpuinfo"}, []string{"/proc/sys"}},
		"none":            {container.HostConfig{MaskedPaths: []string{}, ReadonlyPaths: []string{}}, []string{}, []string{}},
		"older spelling":  {container.HostConfig{SecurityOpt: []string{"systempaths=unconfined"}}, []string{}, []string{}},
		"privileged":      {container.HostConfig{Privileged: true}, nil, nil},
		"privileged, own": {container.HostConfig{Privileged: true, ReadonlyPaths: []string{"/x"}}, nil, []string{"/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.confinement = confinement{}
			id := b.run("one", func(r *CreateRequest) { *r.Host = c.host })
			same := func(what string, got, want []string) {
				if !slices.Equal(got, want) || (got == nil) != (want == nil) {
					t.Errorf("%s: %#v, want %#v", what, got, want)
				}
			}
			got := b.inspect(id).HostConfig
			same("inspect's masked paths", got.MaskedPaths, c.masked)
			same("inspect's read-only paths", got.ReadonlyPaths, c.readonly)
			made := b.runtime.made[model.ContainerID(id)]
			same("masked paths", made.MaskedPaths, c.masked)
			same("read-only paths", made.ReadonlyPaths, c.readonly)
		})
	}
}
