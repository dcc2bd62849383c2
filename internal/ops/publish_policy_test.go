package ops_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/ops"
)

// TestPublishPolicy: what names no address is published as far as the network's policy
// goes; what names one is published there, and that is remarked on if it is further.
func TestPublishPolicy(t *testing.T) {
	policy := func(p string, more ...string) map[string]string {
		options := map[string]string{"com.linkspan.publish": p}
		for i := 0; i < len(more); i += 2 {
			options[more[i]] = more[i+1]
		}
		return options
	}
	const binding, mode4 = "com.docker.network.bridge.host_binding_ipv4", "com.docker.network.bridge.gateway_mode_ipv4"
	for _, c := range []struct {
		options       map[string]string
		publish, want string
		remarks       int
	}{
		{policy("any"), "8080:80", "0.0.0.0 8080:80/tcp, :: 8080:80/tcp", 0},
		{policy("any"), "0.0.0.0 8080:80", "0.0.0.0 8080:80/tcp", 0},
		{policy("localhost"), "8080:80", "127.0.0.1 8080:80/tcp, ::1 8080:80/tcp", 0},
		{policy("localhost"), "8080:80/sctp", "127.0.0.1 8080:80/sctp, ::1 8080:80/sctp", 0},
		{policy("private"), "8080:80", "127.0.0.1 8080:80/tcp, 10.0.0.9 8080:80/tcp, ::1 8080:80/tcp, fd00:9::9 8080:80/tcp", 0},
		{policy("private"), "0.0.0.0 8080:80", "0.0.0.0 8080:80/tcp", 1},
		{policy("private"), ":: 8080:80, 192.0.2.9 8081:80, 10.0.0.9 8082:80, ::1 8083:80", ":: 8080:80/tcp, 192.0.2.9 8081:80/tcp, 10.0.0.9 8082:80/tcp, ::1 8083:80/tcp", 2},
		{policy("localhost"), "10.0.0.9 8080:80, 127.0.0.2 8081:80", "10.0.0.9 8080:80/tcp, 127.0.0.2 8081:80/tcp", 1},
		{policy("private", binding, "192.0.2.9"), "8080:80", "192.0.2.9 8080:80/tcp", 0},
		{policy("localhost", binding, "0.0.0.0"), "8080:80", "127.0.0.1 8080:80/tcp, ::1 8080:80/tcp", 0},
		{policy("localhost", binding, "::"), "8080:80", "::1 8080:80/tcp", 0},
		{policy("localhost", mode4, "routed"), "8080:80", "0.0.0.0 direct:80/tcp, ::1 8080:80/tcp", 0},
	} {
		t.Run(c.options["com.linkspan.publish"]+" "+c.publish, func(t *testing.T) {
			w := newPortWorld(t)
			for _, a := range []string{"10.0.0.9", "192.0.2.9", "2001:db8::9", "fd00:9::9"} {
				w.facts.Host.Addrs = append(w.facts.Host.Addrs, netip.MustParseAddr(a))
			}
			w.must(six("net", c.options), w.publishing("a", c.publish, "net"))
			remarks := driver.PublishRemarks(w.now, all.Drivers(), box("a"))
			if len(remarks) != c.remarks {
				t.Errorf("%d remarks, want %d: %q", len(remarks), c.remarks, remarks)
			}
			for _, r := range remarks {
				if !strings.Contains(r, "network net") || !strings.HasPrefix(r, "Port 80/tcp is published at ") {
					t.Errorf("%q", r)
				}
			}
			w.must(ops.StartSandbox(box("a")))
			w.wantOpen("a", c.want)
		})
	}
}
