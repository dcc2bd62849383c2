package networks

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/query"
)

// fakeSwarm is a swarm with networks; busy are those that somebody is on.
type fakeSwarm struct {
	member, manager bool
	networks        []model.Network
	busy            string
	fail            error
}

func (s *fakeSwarm) Role() (member, manager bool) { return s.member, s.manager }

func (s *fakeSwarm) Networks(context.Context) ([]model.Network, error) { return s.networks, s.fail }

func (s *fakeSwarm) CreateNetwork(_ context.Context, n model.Network) (model.Network, error) {
	n.ID, n.Scope = model.NetworkID(ids.New()[:25]), model.ScopeSwarm
	s.networks = append(s.networks, n)
	return n, nil
}

func (s *fakeSwarm) RemoveNetwork(_ context.Context, id model.NetworkID) error {
	for i, n := range s.networks {
		if n.ID == id && n.Name != s.busy {
			s.networks = slices.Delete(s.networks, i, i+1)
			return nil
		}
	}
	return model.Errorf(model.Invalid, "network %s is in use by task x", id)
}

func (m *Manager) names(t *testing.T) string {
	t.Helper()
	list, err := m.List(t.Context(), query.Filters{"type": {"custom"}})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, v := range list {
		out = append(out, v.Name+"/"+Scope(v.Network))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func over(name string) CreateRequest {
	r := named(name)
	r.Network.Driver = "overlay"
	return r
}

// TestWhoMayMakeANetworkOfTheSwarm has Docker's words for a host of no swarm, a worker,
// and a manager.
func TestWhoMayMakeANetworkOfTheSwarm(t *testing.T) {
	scoped, off, local, ingress, sealed := named("s"), over("off"), over("l"), named("i"), over("e")
	sealed.Network.Options = map[string]string{model.OptionEncrypted: ""}
	scoped.Network.Scope = model.ScopeSwarm
	off.Network.IPv4, off.Explicit = false, []model.Family{model.IPv4}
	local.Network.Scope = "local"
	ingress.Network.Scope, ingress.Network.Ingress = model.ScopeSwarm, true
	for _, c := range []struct {
		name            string
		member, manager bool
		r               CreateRequest
		want            string // part of the error; empty: it is made
		kind            model.Kind
	}{
		{"overlay, no swarm", false, false, over("o"), notManager, model.Forbidden},
		{"overlay, a worker", true, false, over("o"), notManager, model.Forbidden},
		{"overlay, a manager", true, true, over("o"), "", 0},
		{"scope, no swarm", false, false, scoped, "cannot create a swarm scoped network when swarm is not active", model.Forbidden},
		{"scope, a worker", true, false, scoped, "Cannot create a multi-host network from a worker node.", model.Forbidden},
		{"scope, a manager", true, true, scoped, "", 0},
		{"of one host", true, true, local, "cannot downgrade network scope for overlay networks", model.Forbidden},
		{"ingress of another kind", true, true, ingress, "Ingress network can only be global scope network", model.Forbidden},
		{"without IPv4", true, true, off, "IPv4 cannot be disabled in a Swarm scoped network", model.Invalid},
		{"an encrypted one", true, true, sealed, "", 0},
		{"a name of the host's", true, true, over("host"), "operation is not permitted on predefined host network", model.Forbidden},
		{"a name that is taken here", true, true, over("web"), "network with name web already exists", model.Conflict},
		{"a name that is taken there", true, true, over("there"), "network with name there already exists", model.Conflict},
		{"a name that is none", true, true, over(" "), "name is empty", model.Invalid},
		{"one of this host, with a name of the swarm's", true, true, named("there"), "network with name there already exists", model.Conflict},
	} {
		m, _, _ := newBench(t)
		m.swarm = &fakeSwarm{member: c.member, manager: c.manager, networks: []model.Network{{ID: "thereid", Name: "there", Scope: model.ScopeSwarm}}}
		if _, err := m.Create(t.Context(), named("web")); err != nil {
			t.Fatal(err)
		}
		n, err := m.Create(t.Context(), c.r)
		switch {
		case c.want == "" && (err != nil || n.Scope != model.ScopeSwarm || len(n.ID) != 25):
			t.Errorf("%s: %+v, %v", c.name, n, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || model.KindOf(err) != c.kind):
			t.Errorf("%s: %v of kind %d, want %s", c.name, err, model.KindOf(err), c.want)
		}
	}
}

// TestBothScopes: networks of the swarm are listed, found, removed and pruned beside
// those of the host.
func TestBothScopes(t *testing.T) {
	m, e, _ := newBench(t)
	s := &fakeSwarm{member: true, manager: true, busy: "busy", networks: []model.Network{
		{ID: "abcswarm", Name: "ov", Driver: "overlay", Scope: model.ScopeSwarm}, {ID: "abdswarm", Name: "busy", Driver: "overlay", Scope: model.ScopeSwarm},
		{ID: "ingressid", Name: "ingress", Driver: "overlay", Scope: model.ScopeSwarm, Ingress: true}}}
	m.swarm = s
	if _, err := e.Do(t.Context(), func(tx ops.Tx) error { tx.PutNetwork(s.networks[1]); return nil }); err != nil { // somebody here is on it
		t.Fatal(err)
	}
	if _, err := m.Create(t.Context(), named("web")); err != nil {
		t.Fatal(err)
	}
	if got := m.names(t); got != "busy/swarm ingress/swarm ov/swarm web/local" {
		t.Errorf("listed: %s", got)
	}
	for _, c := range []struct{ ref, scope, want string }{
		{"ov", "", "ov"}, {"abcswarm", "", "ov"}, {"abc", "", "ov"}, {"web", "", "web"}, {"web", "local", "web"}, {"ov", "swarm", "ov"},
		{"web", "swarm", "network web not found"}, {"ov", "local", "network ov not found"}, {"nothing", "", "network nothing not found"},
		{"ab", "", "2 matches found based on ID prefix: network ab is ambiguous"},
	} {
		v, err := m.Find(t.Context(), c.ref, c.scope)
		got := v.Name
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s of scope %q: %s, want %s", c.ref, c.scope, got, c.want)
		}
	}
	s.networks = append(s.networks, model.Network{ID: "twin", Name: "web", Scope: model.ScopeSwarm})
	if _, err := m.Find(t.Context(), "web", ""); err == nil || !strings.Contains(err.Error(), "2 matches found based on name") {
		t.Error(err)
	}
	if err := m.Remove(t.Context(), "twin"); err != nil {
		t.Error(err)
	}
	removed, err := m.Prune(t.Context(), query.Filters{})
	if err != nil || strings.Join(removed, " ") != "web ov" {
		t.Errorf("pruned %v, %v", removed, err)
	}
	if got := m.names(t); got != "busy/swarm ingress/swarm" {
		t.Errorf("left: %s", got)
	}
	if err := m.Remove(t.Context(), "busy"); model.KindOf(err) != model.Invalid {
		t.Error(err)
	}
	s.manager, s.fail = false, model.Errorf(model.Unavailable, "worker") // of which a host that manages nothing does not know
	if got := m.names(t); got != "busy/swarm" {
		t.Errorf("a worker lists %s", got)
	}
}
