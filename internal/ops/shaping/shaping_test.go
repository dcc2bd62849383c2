package shaping_test

import (
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/ops/shaping"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/state"
)

// world is a network with two containers that run, and one of which none does.
func world(t *testing.T) *state.Snapshot {
	t.Helper()
	maker := ops.NetworkMaker{Drivers: all.Drivers(), Bases: ipam.DefaultBases()}
	requests := []ops.Op{maker.Create(model.Network{ID: "n1", Name: "web", Driver: "bridge", IPv4: true})}
	for _, id := range []string{"1", "2"} {
		sb := model.Sandbox{ID: model.SandboxID("s" + id), Container: model.ContainerID("c" + id), Name: "c" + id, Mode: model.SandboxOwn}
		requests = append(requests, ops.CreateSandbox(sb, []ops.EndpointSpec{{ID: model.EndpointID("e" + id), Network: "web"}}), ops.StartSandbox(sb.ID))
	}
	tx := ops.Begin(state.Empty(), facts.Set{}, maker.Drivers)
	for _, op := range requests {
		if err := op(tx); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := tx.Commit()
	return s
}

// shapes are the traffic of each container, by its name, as the plan has it: the same at both
// ends.
func shapes(t *testing.T, s *state.Snapshot) map[string]desired.Traffic {
	t.Helper()
	rows, err := plan.Input{Snapshot: s, Drivers: all.Drivers()}.Full()
	if err != nil {
		t.Fatal(err)
	}
	out, ends := map[string]desired.Traffic{}, map[string]int{}
	for o := range rows.Kind(desired.KindShape) {
		e, _ := s.Endpoint(model.EndpointID(strings.TrimPrefix(string(o.Owner), "endpoint/")))
		sb, _ := s.Sandbox(e.Sandbox)
		row, _ := o.Row.(desired.Shape)
		if was, again := out[sb.Name]; again && was != row.Traffic {
			t.Errorf("the two directions of %s differ: %+v, %+v", sb.Name, was, row.Traffic)
		}
		out[sb.Name] = row.Traffic
		ends[sb.Name]++
	}
	for name, n := range ends {
		if n != 2 {
			t.Errorf("%s is shaped at %d ends", name, n)
		}
	}
	return out
}

// TestSet changes one thing after the other, and asks the plan what becomes of it, and that
// only those are planned anew whom it concerns.
func TestSet(t *testing.T) {
	s := world(t)
	for i, c := range []struct {
		sandbox model.SandboxID
		options map[string]string
		want    map[string]desired.Traffic
		owners  int
	}{
		{"", map[string]string{driver.OptionRate: "10mbit"}, map[string]desired.Traffic{"c1": {Rate: 1e7}, "c2": {Rate: 1e7}}, 5},
		{"s1", map[string]string{driver.OptionRate: "none", driver.OptionDelay: "5ms"}, map[string]desired.Traffic{"c1": {Delay: 5 * time.Millisecond}, "c2": {Rate: 1e7}}, 2},
		{"s1", map[string]string{driver.OptionDelay: ""}, map[string]desired.Traffic{"c2": {Rate: 1e7}}, 2},
		{"s1", map[string]string{driver.OptionRate: ""}, map[string]desired.Traffic{"c1": {Rate: 1e7}, "c2": {Rate: 1e7}}, 2},
		{"", map[string]string{driver.OptionRate: ""}, map[string]desired.Traffic{}, 5},
	} {
		tx := ops.Begin(s, facts.Set{}, all.Drivers())
		if err := shaping.Set("web", c.sandbox, c.options)(tx); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		next, changes := tx.Commit()
		if owners := plan.Owners(changes, all.Drivers()); len(owners) != c.owners {
			t.Errorf("%d: %v are planned anew", i, owners)
		}
		got := shapes(t, next)
		if len(got) != len(c.want) {
			t.Errorf("%d: %+v", i, got)
		}
		for name, want := range c.want {
			if got[name] != want {
				t.Errorf("%d: %s: %+v, want %+v", i, name, got[name], want)
			}
		}
		s = next
	}
}

func TestSetRefuses(t *testing.T) {
	s := world(t)
	for _, c := range []struct {
		network string
		sandbox model.SandboxID
		options map[string]string
		kind    model.Kind
	}{
		{"nobody", "", map[string]string{driver.OptionRate: "10mbit"}, model.NotFound},
		{"web", "nobody", map[string]string{driver.OptionRate: "10mbit"}, model.NotFound},
		{"web", "", map[string]string{driver.OptionRate: "fast"}, model.Invalid},
		{"web", "s1", map[string]string{driver.OptionLoss: "half"}, model.Invalid},
	} {
		tx := ops.Begin(s, facts.Set{}, all.Drivers())
		if err := shaping.Set(c.network, c.sandbox, c.options)(tx); model.KindOf(err) != c.kind {
			t.Errorf("%+v: %v", c, err)
		}
	}
	tx := ops.Begin(s, facts.Set{}, all.Drivers())
	n, _ := s.Network("n1")
	n.Scope = model.ScopeSwarm
	tx.PutNetwork(n)
	if err := shaping.Set("web", "", map[string]string{driver.OptionRate: "10mbit"})(tx); model.KindOf(err) != model.Conflict {
		t.Errorf("a network of the swarm: %v", err)
	}
}
