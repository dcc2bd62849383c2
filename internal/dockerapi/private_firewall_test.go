package dockerapi

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/dockerapi/private"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// planning is an engine that has a plan.
type planning struct{ *fakeEngine }

// Plan implements private.Inspector.
func (e planning) Plan() desired.State {
	out, err := plan.Input{Snapshot: e.Snapshot(), Facts: facts.Set{}.With(facts.Host{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}), Drivers: all.Drivers()}.Full()
	if err != nil {
		panic(err)
	}
	return out
}

// dropping is an explainer whose second rule drops, or may.
type dropping struct{ doubt string }

// Explain implements inspect.Explainer.
func (x dropping) Explain(_ context.Context, p facts.TracePacket, rows []desired.Row) (facts.Trace, error) {
	outcome := facts.OutcomeDropped
	if x.doubt != "" {
		outcome = facts.OutcomeUnknown
	}
	var port string
	for _, row := range rows {
		if r, ok := row.(desired.Publish); ok {
			port = r.Key().Name
		}
	}
	return facts.Trace{
		Packet: p, In: "eth0", Outcome: outcome, From: p.From, To: p.To,
		Steps: []facts.TraceStep{
			{Hook: "prerouting", Table: "inet linkspan", Chain: "publish", Rule: "tcp dport map @p", Comment: "a published port", Verdict: "dnat to 172.17.0.2:80", Ours: true, Rows: []string{port}},
			{Hook: "routing", Verdict: "leaves by docker0"},
			{Hook: "forward", Table: "ip filter", Chain: "evil\x1b[2J", Rule: "ip saddr 192.0.2.9 drop", Verdict: "drop", Decides: x.doubt == "", Doubt: x.doubt},
		},
	}, nil
}

// TestPrivateFirewall: what the firewall does is shown in words and as JSON, whatever
// others call their chains.
func TestPrivateFirewall(t *testing.T) {
	b := newBench(t)
	b.publishing(t, "1", "web", model.PortSpec{Protocol: model.TCP, Container: model.Port(80), Host: netip.MustParseAddr("192.0.2.1"), HostPorts: model.Port(8080)})
	get := func(x dropping, path string) (int, string) {
		h := private.Handler(private.Options{Engine: planning{b.engine}, Drivers: all.Drivers(), Metrics: prometheus.NewRegistry(), Explainer: x})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/linkspan/v1/firewall"+path, nil))
		return w.Code, w.Body.String()
	}
	if _, text := get(dropping{}, ""); !strings.HasPrefix(text, "host\n") || !strings.Contains(text, "\nnetwork bridge (") || !strings.Contains(text, "\ncontainer web (111111111111)\n  ") {
		t.Errorf("show:\n%s", text)
	}
	var askers []struct{ Kind, Name string }
	if _, text := get(dropping{}, "?format=json"); json.Unmarshal([]byte(text), &askers) != nil || len(askers) < 3 {
		t.Errorf("show as JSON:\n%s", text)
	}
	const question = "/explain?target=8080&from=192.0.2.9&to=192.0.2.1"
	code, text := get(dropping{}, question)
	want := `dropped: tcp from 192.0.2.9 to 192.0.2.1:8080: by ip filter, chain evil\x1b[2J: ip saddr 192.0.2.9 drop [foreign]

The first packet of a new connection, from eth0:
prerouting
  inet linkspan publish: tcp dport map @p => dnat to 172.17.0.2:80 (a published port) [linkspan, for container web]
routing
  leaves by docker0
forward
* ip filter evil\x1b[2J: ip saddr 192.0.2.9 drop [foreign]
`
	if code != 200 || text != want {
		t.Errorf("explain: %d\n%s\nwant\n%s", code, text, want)
	}
	if _, text := get(dropping{"the time is not known"}, question); !strings.HasPrefix(text, `cannot tell: tcp from 192.0.2.9 to 192.0.2.1:8080: by ip filter`) ||
		!strings.Contains(text, "cannot tell whether it matches: the time is not known") {
		t.Errorf("in doubt:\n%s", text)
	}
	var answer privateapi.Path
	if _, text := get(dropping{}, question+"&format=json"); json.Unmarshal([]byte(text), &answer) != nil || answer.Outcome != "dropped" || len(answer.Steps) != 3 ||
		answer.Steps[0].Owner != "linkspan, for container web" || answer.Steps[1].Owner != "" || answer.Steps[2].Owner != "foreign" || !answer.Steps[2].Decides {
		t.Errorf("explain as JSON:\n%s", text)
	}
	for path, status := range map[string]int{"/explain": 400, "/explain?target=8080/gre": 400, "/explain?target=nobody": 404} {
		if code, text := get(dropping{}, path); code != status || text == "" {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
}
