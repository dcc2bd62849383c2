package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkspan/linkspan/internal/dockerapi/private"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// publishing starts a container with ports.
func (b *bench) publishing(t *testing.T, digit, name string, specs ...model.PortSpec) {
	t.Helper()
	sb := model.Sandbox{ID: model.SandboxID(id(digit)), Container: model.ContainerID(id(digit)), Name: name, Mode: model.SandboxOwn, Publish: specs}
	b.do(t, ops.CreateSandbox(sb, []ops.EndpointSpec{{ID: model.EndpointID(id(digit)), Network: "bridge"}}))
	b.do(t, ops.StartSandbox(sb.ID))
}

func TestTraffic(t *testing.T) {
	b := newBench(t)
	local := netip.MustParseAddr("127.0.0.1")
	b.publishing(t, "1", "web", model.PortSpec{Protocol: model.TCP, Container: model.Port(80), Host: local, HostPorts: model.Port(8080)})
	b.publishing(t, "2", "range", model.PortSpec{Protocol: model.UDP, Container: model.PortRange{First: 10000, Last: 19999},
		Host: local, HostPorts: model.PortRange{First: 10000, Last: 19999}})
	reader := counters{
		Ports: []facts.PortTraffic{
			{Protocol: model.TCP, Host: local, First: 8080, Last: 8080, Connections: 12, Packets: 99, Bytes: 3456},
			{Protocol: model.UDP, Host: local, First: 10000, Last: 19999, Connections: 1, Packets: 2, Bytes: 56},
			{Protocol: model.TCP, Host: local, First: 9, Last: 9, Connections: 7}, // of a container that is gone meanwhile
		},
		Bridges: []facts.BridgeTraffic{
			{Bridge: "br-bbbbbbbbbbbb", InBytes: 1, InPackets: 2, OutBytes: 3, OutPackets: 4},
			{Bridge: "somebody-elses", InBytes: 99},
		},
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(private.TrafficMetrics(inspect.New(inspect.Options{Engine: b.engine, Drivers: all.Drivers(), Traffic: reader}), slog.New(slog.DiscardHandler)))
	h := private.Handler(private.Options{Engine: b.engine, Drivers: all.Drivers(), Metrics: registry, Traffic: reader})
	get := func(path string) string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Body.String()
	}
	metrics := get("/metrics")
	for _, want := range []string{
		`linkspan_port_connections_total{address="127.0.0.1",container="web",ports="8080",proto="tcp"} 12`,
		`linkspan_port_bytes_total{address="127.0.0.1",container="web",ports="8080",proto="tcp"} 3456`,
		`linkspan_port_connections_total{address="127.0.0.1",container="range",ports="10000-19999",proto="udp"} 1`,
		`linkspan_network_bytes_total{direction="in",network="bridge"} 1`,
		`linkspan_network_packets_total{direction="out",network="bridge"} 4`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
	if n := strings.Count(metrics, "\nlinkspan_"); n != 8 {
		t.Errorf("%d series, want 8:\n%s", n, metrics)
	}
	want := `{"Ports":[` +
		`{"Container":"web","ContainerID":"` + id("1") + `","Protocol":"tcp","Address":"127.0.0.1","HostPorts":"8080","ContainerPorts":"80","Connections":12,"Packets":99,"Bytes":3456},` +
		`{"Container":"range","ContainerID":"` + id("2") + `","Protocol":"udp","Address":"127.0.0.1","HostPorts":"10000-19999","ContainerPorts":"10000-19999","Connections":1,"Packets":2,"Bytes":56}],` +
		`"Networks":[{"Network":"bridge","Bridge":"br-bbbbbbbbbbbb","InBytes":1,"InPackets":2,"OutBytes":3,"OutPackets":4}]}`
	if got := strings.TrimSpace(get("/linkspan/v1/traffic")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestTrafficThatCannotBeRead leaves everything else to be seen.
func TestTrafficThatCannotBeRead(t *testing.T) {
	b := newBench(t)
	registry := prometheus.NewRegistry()
	registry.MustRegister(private.TrafficMetrics(inspect.New(inspect.Options{Engine: b.engine, Drivers: all.Drivers(), Traffic: broken{}}), slog.New(slog.DiscardHandler)),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "linkspan_things"}, func() float64 { return 1 }))
	h := private.Handler(private.Options{Engine: b.engine, Drivers: all.Drivers(), Metrics: registry, Traffic: broken{}})
	for path, want := range map[string]string{
		"/metrics": "200 linkspan_things 1", "/linkspan/v1/ports": "200 HOST", "/linkspan/v1/traffic": "500 no kernel",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if status, text, _ := strings.Cut(want, " "); fmt.Sprint(w.Code) != status || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

type broken struct{}

// Traffic implements TrafficReader.
func (broken) Traffic(context.Context) (facts.Traffic, error) {
	return facts.Traffic{}, errors.New("no kernel")
}
