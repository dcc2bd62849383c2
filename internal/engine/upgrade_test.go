package engine

import (
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
	"github.com/linkspan/linkspan/internal/store"
)

// forget takes from the stored sandboxes what older releases did not write: they
// read as those had left them.
func (r *rig) forget(t *testing.T) {
	t.Helper()
	r.must(t, func(tx ops.Tx) error {
		for sb := range tx.View().Sandboxes() {
			sb.Routed, sb.Ports = nil, slices.Clone(sb.Ports)
			for i := range sb.Ports {
				sb.Ports[i].Endpoint = ""
			}
			tx.PutSandbox(sb)
		}
		return nil
	})
}

// TestUpgradeOfPublishedPorts: ports that run since a release which did not write
// down where they lead go on to lead there, and none is chosen or claimed anew.
func TestUpgradeOfPublishedPorts(t *testing.T) {
	r := newRig(t)
	six := model.Network{ID: model.NetworkID(digits("six")), Name: "six", IPv4: true, IPv6: true}
	routed := model.Network{ID: model.NetworkID(digits("routed")), Name: "zrouted", IPv4: true, IPv6: true, Options: map[string]string{
		"com.docker.network.bridge.gateway_mode_ipv4": "routed", "com.docker.network.bridge.gateway_mode_ipv6": "routed"}}
	r.must(t, r.Networks().Create(six), r.Networks().Create(routed))
	for name, networks := range map[string][]string{
		"four": {"bridge"}, "both": {"bridge", "six"}, "beside": {"bridge", "six", "zrouted"}, "alone": {"zrouted"}, "mixed": {"bridge", "zrouted"},
	} {
		id := r.box(t, name, publish("", ""), networks...)
		r.must(t, ops.StartSandbox(id))
	}
	down := r.box(t, "down", publish("9000"), "six")
	r.must(t, ops.StartSandbox(down), ops.StopSandbox(down))
	sandboxes := func() (all []model.Sandbox) { return slices.Collect(r.Snapshot().Sandboxes()) }
	wanted, claims, before := r.Plan().String(), r.reserver.String(), sandboxes()
	r.forget(t)
	if r.Plan().String() == wanted {
		t.Fatal("nothing was forgotten")
	}
	r.restart(t)
	if got := r.Plan().String(); got != wanted {
		t.Errorf("planned after the upgrade:\n%s\nwant:\n%s", got, wanted)
	}
	if got := r.reserver.String(); got != claims {
		t.Errorf("held:\n%s\nwant:\n%s", got, claims)
	}
	for i, sb := range sandboxes() {
		if sb.Up && (!slices.Equal(sb.Ports, before[i].Ports) || !slices.Equal(sb.Routed, before[i].Routed)) {
			t.Errorf("%s: %v and %v, want %v and %v", sb.Name, sb.Ports, sb.Routed, before[i].Ports, before[i].Routed)
		}
	}
	revision := r.Snapshot().Revision
	r.restart(t)
	if got := r.Snapshot().Revision; got != revision {
		t.Errorf("the second start wrote again: revision %d, want %d", got, revision)
	}
}

// TestOlderBindingIsRead: as releases wrote it that did not say where a port leads.
func TestOlderBindingIsRead(t *testing.T) {
	const written = `{"ID":"s1","Mode":"own","Up":true,"Ports":[{"Protocol":"tcp","Container":{"First":80,"Last":80},"Host":"0.0.0.0","HostFirst":8080}]}`
	record, err := store.Decode(state.KindSandbox, []byte(written))
	if err != nil {
		t.Fatal(err)
	}
	sb, _ := record.(model.Sandbox)
	if len(sb.Ports) != 1 || sb.Ports[0].HostFirst != 8080 || sb.Ports[0].Endpoint != "" || sb.Routed != nil {
		t.Errorf("%+v", sb)
	}
}
