package dockerapi

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkspan/linkspan/internal/dockerapi/private"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/model"
)

// TestDebugDrops: what was dropped is found wherever one looks for it.
func TestPrivateDrops(t *testing.T) {
	b := newBench(t)
	b.publishing(t, "1", "web")
	b.publishing(t, "2", "quiet")
	var port string
	for name, a := range all.Drivers().ByPort(b.engine.Snapshot()) {
		if a.Sandbox.Name == "web" {
			port = name
		}
	}
	reader := counters{Drops: []facts.PortDrops{
		{Port: port, Kind: facts.DropARP, Packets: 3, Bytes: 84},
		{Port: port, Kind: facts.DropSource, Packets: 5, Bytes: 4200},
		{Port: "veth0", Kind: facts.DropSource, Packets: 7, Bytes: 1}, // of a container that is gone meanwhile
	}}
	registry := prometheus.NewRegistry()
	registry.MustRegister(private.TrafficMetrics(inspect.New(inspect.Options{Engine: b.engine, Drivers: all.Drivers(), Traffic: reader}), slog.New(slog.DiscardHandler)))
	h := private.Handler(private.Options{Engine: b.engine, Drivers: all.Drivers(), Metrics: registry, Traffic: reader})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	_, metrics := get("/metrics")
	for _, want := range []string{
		`linkspan_port_drops_total{container="web",kind="arp",network="bridge"} 3`,
		`linkspan_port_drops_total{container="web",kind="source",network="bridge"} 5`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
	_, table := get("/linkspan/v1/drops")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "CONTAINER") {
		t.Fatalf("table:\n%s", table)
	}
	want := "web " + model.Short(id("1")) + " bridge eth0 capability no source 5 4.2kB packets from addresses that are not its own"
	if got := strings.Join(strings.Fields(lines[2]), " "); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if _, traffic := get("/linkspan/v1/traffic"); !strings.Contains(traffic, `"Drops":[{"Container":"web"`) {
		t.Errorf("traffic: %s", traffic)
	}
	checkInspected(t, get)
}

func checkInspected(t *testing.T, get func(path string) (int, string)) {
	t.Helper()
	var endpoints []private.EndpointAnswer
	if _, text := get("/linkspan/v1/drops/" + id("1")); json.Unmarshal([]byte(text), &endpoints) != nil || len(endpoints) != 1 {
		t.Fatalf("inspect: %s", text)
	}
	e := endpoints[0]
	if e.Network != "bridge" || e.PortSecurity.Setting != "capability" || e.PortSecurity.NetAdmin || len(e.Dropped) != 2 ||
		e.Dropped[1].Frames != 5 || !strings.Contains(e.Dropped[1].WayOut, "--cap-add NET_ADMIN") {
		t.Errorf("inspect: %+v", e)
	}
	if _, text := get("/linkspan/v1/drops/" + id("2")); !strings.Contains(text, `"Dropped": []`) {
		t.Errorf("a container that behaves: %s", text)
	}
	if code, text := get("/linkspan/v1/drops/nobody"); code != 404 || !strings.Contains(text, "nobody") {
		t.Errorf("nobody: %d %s", code, text)
	}
}
