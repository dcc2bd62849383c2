package containers

import (
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
)

// TestEmptyPortBindings: a port with an empty list of bindings is published at any
// port of the host, as ever; the newer versions say that this is about to end.
func TestEmptyPortBindings(t *testing.T) {
	const warning = "Following container port(s) have an empty list of port-bindings: 80/tcp, 81/udp. Such bindings will be discarded in a future version."
	web, dns, own := network.MustParsePort("80/tcp"), network.MustParsePort("81/udp"), network.MustParsePort("82/tcp")
	for v, want := range map[httpkit.Version]string{24: "", 43: "", 51: "", 52: warning, httpkit.NewestVersion: warning} {
		given := network.PortMap{web: {}, dns: nil, own: {{HostPort: "8082"}}}
		body := createBody{}
		body.Config, body.HostConfig = &container.Config{}, &container.HostConfig{PortBindings: given}
		out, warnings, err := translateCreate(v, body)
		if err != nil {
			t.Fatal(v, err)
		}
		got := out.Host.PortBindings
		for _, port := range []network.Port{web, dns} {
			if len(got[port]) != 1 || got[port][0] != (network.PortBinding{}) {
				t.Errorf("%s: %s leads to %v", v, port, got[port])
			}
		}
		if len(got[own]) != 1 || got[own][0].HostPort != "8082" {
			t.Errorf("%s: %v", v, got[own])
		}
		if said := append(warnings, ""); said[0] != want || len(said) > 2 {
			t.Errorf("%s: warnings %q, want %q", v, warnings, want)
		}
	}
}
