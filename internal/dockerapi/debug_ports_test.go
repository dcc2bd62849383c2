package dockerapi

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

func TestDebugPorts(t *testing.T) {
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
	} {
		digit := string(rune('1' + i))
		sb := model.Sandbox{ID: model.SandboxID(id(digit)), Container: model.ContainerID(id(digit)), Name: c.name, Mode: model.SandboxOwn, Publish: []model.PortSpec{c.spec}}
		b.do(t, ops.CreateSandbox(sb, []ops.EndpointSpec{{ID: model.EndpointID(id(digit)), Network: "bridge"}}))
		if c.start {
			b.do(t, ops.StartSandbox(sb.ID))
		}
	}
	h := Debug(DebugOptions{Engine: b.engine, Metrics: prometheus.NewRegistry()})
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/linkspan/v1/ports", 200, `HOST                  PROTOCOL   CONTAINER   ID             PORT
127.0.0.1:6000-6009   udp        range       222222222222   5000-5009
0.0.0.0:8080          tcp        web         111111111111   80
[::]:8080             tcp        web         111111111111   80
`},
		{"/linkspan/v1/ports/6003", 200, "127.0.0.1:6003/udp is published by container range (222222222222)\n"},
		{"/linkspan/v1/ports/8080", 200, "127.0.0.1:8080/tcp will be wanted by container late (333333333333)\n"},
		{"/linkspan/v1/ports/8080", 200, "[::]:8080/tcp is published by container web (111111111111)\n"},
		{"/linkspan/v1/ports/9", 200, "no container publishes port 9\n"},
		{"/linkspan/v1/ports/0", 400, `invalid port: "0"`},
		{"/linkspan/v1/ports/http", 400, `invalid port: "http"`},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d\n%swant %d\n%s", c.path, w.Code, w.Body, c.status, c.want)
		}
	}
}
