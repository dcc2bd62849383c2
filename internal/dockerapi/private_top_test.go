package dockerapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkspan/linkspan/internal/dockerapi/private"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// growing counts 1000 bytes more at each look, and fails from the look on that ends it.
type growing struct {
	port  string
	looks atomic.Uint64
	ends  uint64
}

// Links implements inspect.LinkReader.
func (g *growing) Links(context.Context, string) ([]facts.LinkTraffic, error) {
	n := g.looks.Add(1)
	if g.ends != 0 && n >= g.ends {
		return nil, errors.New("no kernel")
	}
	return []facts.LinkTraffic{{Link: g.port, Sent: facts.Counter{Bytes: 1000 * n, Packets: n}}}, nil
}

// watched is a private socket with one container, whose counters grow.
func watched(t *testing.T, ends uint64) (*httptest.Server, *growing) {
	b := newBench(t)
	b.publishing(t, "1", "web", model.PortSpec{Protocol: model.TCP, Container: model.Port(80), HostPorts: model.Port(8080)})
	e, _ := b.engine.Snapshot().Endpoint(model.EndpointID(id("1")))
	at, _ := all.Drivers().AttachedTo(b.engine.Snapshot(), e)
	g := &growing{port: at.Port, ends: ends}
	s := httptest.NewServer(private.Handler(private.Options{Engine: b.engine, Drivers: all.Drivers(), Metrics: prometheus.NewRegistry(), Links: g}))
	t.Cleanup(s.Close)
	return s, g
}

func TestPrivateTop(t *testing.T) {
	s, _ := watched(t, 0)
	resp, err := http.Get(s.URL + "/linkspan/v1/top?interval=100ms&count=2")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for want := uint64(2000); lines.Scan(); want += 1000 {
		var got privateapi.Top
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Version != privateapi.TopVersion || len(got.Containers) != 1 || got.Containers[0].Container != "web" || got.Containers[0].In.Bytes != want ||
			got.Containers[0].In.BytesPerSecond <= 0 || len(got.Networks) != 1 || len(got.Ports) != 2 || // of each family
			got.Ports[0].Counted {
			t.Errorf("%s", lines.Bytes())
		}
	}
	for query, want := range map[string]int{"interval=1ms": 400, "interval=1h": 400, "interval=x": 400, "count=-1": 400, "count=x": 400} {
		resp, err := http.Get(s.URL + "/linkspan/v1/top?" + query)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("%s: %s", query, resp.Status)
		}
	}
}

// TestPrivateTopThatFails: before the first sample it is a status, later a line.
func TestPrivateTopThatFails(t *testing.T) {
	for ends, want := range map[uint64]string{1: "500 no kernel\n", 3: `200 {"Error":"no kernel"}` + "\n"} {
		s, _ := watched(t, ends)
		resp, err := http.Get(s.URL + "/linkspan/v1/top?interval=100ms")
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		status, line, _ := strings.Cut(want, " ")
		if !strings.HasPrefix(resp.Status, status) || !strings.HasSuffix(string(raw), line) {
			t.Errorf("%s: %s", resp.Status, raw)
		}
	}
}

// TestPrivateTopEnds: nothing is looked at once nobody listens, and those who listen are
// not without number.
func TestPrivateTopEnds(t *testing.T) {
	s, g := watched(t, 0)
	ctx, leave := context.WithCancel(t.Context())
	for i := range 17 {
		req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/linkspan/v1/top?interval=100ms", nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if want := map[bool]int{false: 200, true: 503}[i == 16]; resp.StatusCode != want {
			t.Fatalf("watcher %d: %s", i, resp.Status)
		}
	}
	leave()
	s.CloseClientConnections()
	s.Close() // returns when no handler is under way
	if g.looks.Load() < 16 {
		t.Error("not everybody was looked for")
	}
}
