package containerspec

import (
	"testing"

	"github.com/moby/moby/api/types/network"
)

func TestExposedPortsOfLinks(t *testing.T) {
	set := network.PortSet{}
	for _, p := range []string{"80/tcp", "81/tcp", "82/tcp", "84/tcp", "65535/tcp", "80/udp", "1/sctp"} {
		set[network.MustParsePort(p)] = struct{}{}
	}
	var got []string
	for _, p := range Exposed(set) {
		got = append(got, string(p.Protocol)+" "+p.Ports.String())
	}
	equal(t, "ranges", got, []string{"sctp 1", "tcp 80-82", "tcp 84", "tcp 65535", "udp 80"})
}
