package containerview

import (
	"net/netip"
	"testing"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
)

// TestOrderOfPorts: those that the host's ports lead to come first.
func TestOrderOfPorts(t *testing.T) {
	port := network.MustParsePort("80/tcp")
	open := []model.PortBinding{
		{Protocol: "tcp", Container: model.Port(80), Host: netip.IPv6Unspecified()}, // routed
		{Protocol: "tcp", Container: model.Port(80), Host: netip.IPv4Unspecified(), HostFirst: 8080},
	}
	if got := portMap(nil, open)[port]; len(got) != 2 || got[0].HostPort != "8080" || got[1].HostPort != "" {
		t.Errorf("inspect: %v", got)
	}
	if got := portSummaries(nil, open); len(got) != 2 || got[0].PublicPort != 8080 || got[1].PublicPort != 0 {
		t.Errorf("list: %v", got)
	}
}
