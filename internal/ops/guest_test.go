package ops_test

import (
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// guest asks for a namespace to join a network; publish are ports of the host and of it.
func guest(name string, inode uint64, network string, publish ...uint16) ops.Op {
	r := ops.GuestRequest{
		Sandbox: model.Sandbox{
			ID: box(name), Container: model.ContainerID(model.GuestPrefix + digits("g", name)[:61]), Name: name,
			Guest: &model.Guest{Path: "/run/netns/" + name, Device: 4, Inode: inode, Boot: "boot"},
		},
		Endpoint: on(name, network), Claim: model.Claim{Door: model.DoorCNI, Config: network, Container: name},
	}
	for _, p := range publish {
		r.Claim.Publish = append(r.Claim.Publish, model.PortSpec{Protocol: model.TCP, Container: model.Port(80), HostPorts: model.Port(p)})
	}
	return ops.AttachGuest(r)
}

func guestWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.facts = facts.Set{}.With(facts.Host{BootID: "boot"})
	for _, name := range []string{"web", "db"} {
		w.must(maker.Create(model.Network{ID: model.NetworkID(digits("n", name)), Name: name, Driver: "bridge", IPv4: true}))
	}
	return w
}

func TestGuestJoinsAndLeaves(t *testing.T) {
	w := guestWorld(t)
	w.must(guest("blue", 7, "web", 8080), guest("second-name", 7, "db", 8081))
	sb, ok := w.now.SandboxOfGuest(model.Guest{Boot: "boot", Device: 4, Inode: 7})
	if !ok || sb.Name != "blue" || !sb.Up || len(sb.Publish) != 2 || len(sb.Ports) == 0 {
		t.Fatalf("%+v", sb)
	}
	all := w.now.EndpointsInOrder(sb.ID)
	if len(all) != 2 || !all[0].Up || !all[0].Addr4.IsValid() || all[0].Interface != "eth0" || all[1].Interface != "eth1" {
		t.Fatalf("%+v", all)
	}
	w.refuses(model.Forbidden, "already exists in network web", guest("blue", 7, "web"))
	w.refuses(model.Unfit, "port is already allocated", guest("red", 8, "web", 8080))
	w.must(ops.DetachGuest(all[0].ID), ops.DetachGuest(all[0].ID))
	if sb, _ = w.now.Sandbox(sb.ID); len(sb.Publish) != 1 || sb.Publish[0].HostPorts.First != 8081 {
		t.Errorf("ports of who has left: %+v", sb.Publish)
	}
	w.must(guest("red", 8, "web", 8080), ops.DetachGuest(all[1].ID))
	if _, ok := w.now.Sandbox(sb.ID); ok {
		t.Error("a guest without networks is still known")
	}
	n := 0
	for e := range w.now.Claimed(model.DoorCNI, "red") {
		n++
		if e.Claim.Config != "web" {
			t.Errorf("%+v", e.Claim)
		}
	}
	if n != 1 {
		t.Errorf("%d endpoints are claimed for red", n)
	}
}

func TestGuestIsRefused(t *testing.T) {
	w := guestWorld(t)
	w.must(maker.Create(model.Network{ID: model.NetworkID(digits("n", "inner")), Name: "inner", Driver: "bridge", IPv4: true, Internal: true}))
	w.refuses(model.NotFound, "network nowhere not found", guest("blue", 7, "nowhere"))
	w.refuses(model.Unfit, "publishes no ports", guest("blue", 7, "inner", 8080))
}

// TestNoGuestOutlivesItsBoot: numbers of namespaces begin anew.
func TestNoGuestOutlivesItsBoot(t *testing.T) {
	w := guestWorld(t)
	w.must(guest("blue", 7, "web"), ops.ForgetGuests())
	if _, ok := w.now.Sandbox(box("blue")); !ok {
		t.Error("a guest of this boot is gone")
	}
	w.facts = facts.Set{}.With(facts.Host{BootID: "next"})
	w.must(ops.ForgetGuests())
	for e := range w.now.Endpoints() {
		t.Errorf("left: %+v", e)
	}
}
