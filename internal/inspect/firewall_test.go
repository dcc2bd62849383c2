package inspect

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/state"
)

// TestEveryPolicyHasWords: nobody is shown a row where words are promised.
func TestEveryPolicyHasWords(t *testing.T) {
	for _, row := range desired.Types() {
		if row.Key().Kind == desired.KindPolicy && words(row) == row.String() {
			t.Errorf("%T has no words", row)
		}
	}
}

func TestTargets(t *testing.T) {
	addr := netip.MustParseAddr
	for text, want := range map[string]target{
		"8080": {port: 8080, protocol: model.TCP}, "53/udp": {port: 53, protocol: model.UDP}, "132/SCTP": {port: 132, protocol: model.SCTP},
		"web": {container: "web", protocol: model.TCP}, "web:80": {container: "web", port: 80, protocol: model.TCP}, "web:53/udp": {container: "web", port: 53, protocol: model.UDP},
		"123456789abc": {container: "123456789abc", protocol: model.TCP}, "99999": {container: "99999", protocol: model.TCP},
		"192.0.2.1:80": {addr: addr("192.0.2.1"), port: 80, protocol: model.TCP}, "[2001:db8::1]:53/udp": {addr: addr("2001:db8::1"), port: 53, protocol: model.UDP},
		"2001:db8::1": {addr: addr("2001:db8::1")}, "::ffff:192.0.2.1": {addr: addr("192.0.2.1")},
	} {
		if got, err := readTarget(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ":80", "/udp", "web:0", "web:http", "web:80/gre", "web:65536", "8080/icmp"} {
		if got, err := readTarget(text); model.KindOf(err) != model.Invalid {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func FuzzTarget(f *testing.F) {
	f.Add("web:80/udp")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := readTarget(text); err == nil && got.container == "" && got.port == 0 && !got.addr.IsValid() {
			t.Errorf("%q is about nothing", text)
		}
	})
}

// planned is an engine with a plan.
type planned struct {
	still
	plan desired.State
}

func (p planned) Plan() desired.State { return p.plan }

// explainer remembers what it was asked, and answers with a rule of every policy.
type explainer struct{ asked facts.TracePacket }

func (x *explainer) Explain(_ context.Context, p facts.TracePacket, rows []desired.Row) (facts.Trace, error) {
	x.asked = p
	t := facts.Trace{Packet: p, To: p.To, From: p.From, Outcome: facts.OutcomeAccepted}
	for _, row := range rows {
		t.Steps = append(t.Steps, facts.TraceStep{Rows: []string{row.Key().Name}})
	}
	return t, nil
}

// planOf compiles a snapshot for a host with two addresses.
func planOf(t *testing.T, s *state.Snapshot) desired.State {
	t.Helper()
	known := facts.Set{}.With(facts.Host{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}})
	out, err := plan.Input{Snapshot: s, Facts: known, Drivers: all.Drivers()}.Full()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestExplainAsksForPackets(t *testing.T) {
	s := publishing(t)
	x := &explainer{}
	r := New(Options{Engine: planned{s, planOf(t, s.snapshot)}, Drivers: all.Drivers(), Explainer: x})
	for _, c := range []struct {
		question Question
		from, to string // of the packet; from may be empty: the host
		err      string
	}{
		{question: Question{Target: "8080"}, from: "192.0.2.2", to: "192.0.2.1:8080"},
		{question: Question{Target: "8080", From: "198.51.100.7"}, from: "198.51.100.7", to: "192.0.2.1:8080"},
		{question: Question{Target: "8080", From: "2001:db8:7::7"}, from: "2001:db8:7::7", to: "[2001:db8::1]:8080"},
		{question: Question{Target: "8080", From: "localhost"}, to: "127.0.0.1:8080"},
		{question: Question{Target: "8080", From: "::1"}, from: "::1", to: "[::1]:8080"},
		{question: Question{Target: "8080", From: "198.51.100.7", To: "10.0.0.1"}, from: "198.51.100.7", to: "10.0.0.1:8080"},
		{question: Question{Target: "8080", From: "198.51.100.7", To: "2001:db8::1"}, err: "no address of the family"},
		{question: Question{Target: "8080", To: "home"}, err: "invalid address"},
		{question: Question{Target: "c1"}, from: "192.0.2.2", to: "172.17.0.2:80"},
		{question: Question{Target: "c1:81", From: "localhost"}, to: "172.17.0.2:81"},
		{question: Question{Target: "c1", From: "c1"}, from: "172.17.0.2", to: "172.17.0.2:80"},
		{question: Question{Target: "c1", From: "2001:db8::7"}, err: "no addresses of one family"},
		{question: Question{Target: "c9"}, err: "c9"},
	} {
		e, err := r.Explain(t.Context(), c.question)
		if c.err != "" || err != nil {
			if err == nil || c.err == "" || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: %v, want %q", c.question, err, c.err)
			}
			continue
		}
		from := ""
		if x.asked.From.IsValid() {
			from = x.asked.From.String()
		}
		if from != c.from || x.asked.To.String() != c.to {
			t.Errorf("%+v: from %q to %s, want %q to %s", c.question, from, x.asked.To, c.from, c.to)
		}
		if !slices.Contains(e.For, "container web") || !slices.Contains(e.For, "network net") || len(e.For) != len(e.Steps) {
			t.Errorf("%+v: for %q", c.question, e.For)
		}
	}
}

func TestPolicies(t *testing.T) {
	s := publishing(t)
	r := New(Options{Engine: planned{s, planOf(t, s.snapshot)}, Drivers: all.Drivers()})
	var out []string
	for _, a := range r.Policies() {
		for _, rule := range a.Rules {
			out = append(out, a.String()+": "+rule.Text)
		}
	}
	text := strings.Join(out, "\n")
	for _, want := range []string{"host: ", "network net: bridge br-n1: nothing comes in but what is published", "container web: tcp 127.0.0.1:8080 leads to 172.17.0.2:80"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
