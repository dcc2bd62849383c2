package containerspec

import (
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestNetAdmin(t *testing.T) {
	for _, c := range []struct {
		host container.HostConfig
		want bool
	}{
		{container.HostConfig{}, false},
		{container.HostConfig{Privileged: true}, true},
		{container.HostConfig{Privileged: true, CapDrop: []string{"ALL"}}, true}, // as for the runtime
		{container.HostConfig{CapAdd: []string{"NET_ADMIN"}}, true},
		{container.HostConfig{CapAdd: []string{"cap_net_admin"}}, true},
		{container.HostConfig{CapAdd: []string{" net_admin "}}, true},
		{container.HostConfig{CapAdd: []string{"NET_RAW"}}, false},
		{container.HostConfig{CapAdd: []string{"all"}}, true},
		{container.HostConfig{CapAdd: []string{"ALL"}, CapDrop: []string{"CAP_NET_ADMIN"}}, false},
		{container.HostConfig{CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"ALL"}}, true},
		{container.HostConfig{CapDrop: []string{"NET_ADMIN"}}, false},
	} {
		if got := NetAdmin(&c.host); got != c.want {
			t.Errorf("privileged=%t add=%v drop=%v: %t", c.host.Privileged, c.host.CapAdd, c.host.CapDrop, got)
		}
	}
}
