package dockerapi

import (
	"context"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkspan/linkspan/internal/dockerapi/private"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

func TestPrivatePorts(t *testing.T) {
	b := newBench(t)
	for i, c := range []struct {
		name  string
		start bool
		spec  model.PortSpec
	}{
		{"web", true, model.PortSpec{Protocol: model.TCP, Container: model.Port(80), HostPorts: model.Port(8080)}},
		{"range", true, model.PortSpec{Protocol: model.UDP, Container: model.PortRange{First: 5000, Last: 5009},
			Host: netip.MustParseAddr("127.0.0.1"), HostPorts: model.PortRange{First: 6000, Last: 6009}}},
		{"late", false, model.PortSpec{Protocol: model.TCP, Container: model.Port(80), Host: netip.MustParseAddr("127.0.0.1"), HostPorts: model.Port(8080)}},
		{"later", false, model.PortSpec{Protocol: model.TCP, Container: model.Port(80), HostPorts: model.Port(8081)}},
	} {
		digit := string(rune('1' + i))
		sb := model.Sandbox{ID: model.SandboxID(id(digit)), Container: model.ContainerID(id(digit)), Name: c.name, Mode: model.SandboxOwn, Publish: []model.PortSpec{c.spec}}
		b.do(t, ops.CreateSandbox(sb, []ops.EndpointSpec{{ID: model.EndpointID(id(digit)), Network: "bridge"}}))
		if c.start {
			b.do(t, ops.StartSandbox(sb.ID))
		}
	}
	b.inspect.State = &container.State{StartedAt: "2026-01-02T03:04:05.6Z"}
	h := private.Handler(private.Options{
		Engine: b.engine, Containers: b.fakeManager, Metrics: prometheus.NewRegistry(),
		Traffic: counters{Ports: []facts.PortTraffic{
			{Protocol: model.TCP, Host: netip.IPv4Unspecified(), First: 8080, Last: 8080, Connections: 12, Packets: 99, Bytes: 34_500_000},
			{Protocol: model.UDP, Host: netip.MustParseAddr("127.0.0.1"), First: 6000, Last: 6009, Connections: 1, Packets: 2, Bytes: 56},
		}},
		Listeners: func(_ context.Context, port uint16) ([]facts.Listener, error) {
			at := func(protocol model.Protocol, addr, who string) facts.Listener {
				return facts.Listener{Protocol: protocol, At: netip.AddrPortFrom(netip.MustParseAddr(addr), port), Who: who}
			}
			switch port {
			case 6003: // the one socket holds it for the container
				return []facts.Listener{at(model.UDP, "127.0.0.1", "process keeper, pid 1"), at(model.TCP, "::", "process nginx, pid 123")}, nil
			case 8080:
				return []facts.Listener{at(model.TCP, "0.0.0.0", "process keeper, pid 1"), at(model.TCP, "::1", "process keeper, pid 1")}, nil
			case 51820:
				return []facts.Listener{at(model.UDP, "0.0.0.0", "")}, nil
			}
			return nil, nil
		},
	})
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/linkspan/v1/ports", 200, `HOST                  PROTOCOL   CONTAINER   ID             PORT        SINCE                  CONNECTIONS   TRAFFIC
127.0.0.1:6000-6009   udp        range       222222222222   5000-5009   2026-01-02T03:04:05Z   1             56B
0.0.0.0:8080          tcp        web         111111111111   80          2026-01-02T03:04:05Z   12            34.5MB
[::]:8080             tcp        web         111111111111   80          2026-01-02T03:04:05Z   -             -
`},
		{"/linkspan/v1/ports/6003", 200, "127.0.0.1:6003/udp is published by container range (222222222222)\n[::]:6003/tcp is held by process nginx, pid 123\n"},
		{"/linkspan/v1/ports/8080", 200, "127.0.0.1:8080/tcp will be wanted by container late (333333333333)\n" +
			"0.0.0.0:8080/tcp is published by container web (111111111111)\n[::]:8080/tcp is published by container web (111111111111)\n"},
		{"/linkspan/v1/ports/8081", 200, "0.0.0.0:8081/tcp will be wanted by container later (444444444444)\n" +
			"[::]:8081/tcp will be wanted by container later (444444444444)\nport 8081 is free\n"},
		{"/linkspan/v1/ports/51820", 200, "0.0.0.0:51820/udp is held by the kernel, or a process that cannot be seen\n"},
		{"/linkspan/v1/ports/9", 200, "port 9 is free\n"},
		{"/linkspan/v1/ports/0", 400, "invalid port: \"0\"\n"},
		{"/linkspan/v1/ports/http", 400, "invalid port: \"http\"\n"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", c.path, nil))
		if got := lines(w.Body.String()); w.Code != c.status || got != lines(c.want) {
			t.Errorf("%s: %d\n%swant %d\n%s", c.path, w.Code, got, c.status, lines(c.want))
		}
	}
}

// lines are in order; users of one port are not.
func lines(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(text)), "")
}

// counters is what a kernel has counted.
type counters facts.Traffic

// Traffic implements TrafficReader.
func (c counters) Traffic(context.Context) (facts.Traffic, error) { return facts.Traffic(c), nil }
