package containers

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
)

// published returns a container's ports as inspect shows them, as JSON.
func (b *bench) published(id string) string {
	b.t.Helper()
	raw, err := json.Marshal(b.inspect(id).NetworkSettings.Ports)
	must(b.t, err)
	return string(raw)
}

func bindings(pairs ...string) func(*CreateRequest) {
	return func(r *CreateRequest) {
		r.Host.PortBindings = network.PortMap{}
		for _, pair := range pairs {
			container, host, _ := strings.Cut(pair, "=")
			port := network.MustParsePort(container)
			r.Host.PortBindings[port] = append(r.Host.PortBindings[port], network.PortBinding{HostPort: host})
		}
	}
}

// TestOnlyBridgesHavePorts: elsewhere not even those that the image exposes are shown.
func TestOnlyBridgesHavePorts(t *testing.T) {
	b := newBench(t)
	id := b.create("web", func(r *CreateRequest) {
		bindings("443/tcp=8443")(r)
		r.Host.NetworkMode = "none"
	})
	must(t, b.Start(ctx, id))
	if got := b.published(id); got != `{}` {
		t.Errorf("inspect: %s", got)
	}
	list, err := b.List(ctx, ListOptions{})
	must(t, err)
	if got := list[0].Ports; len(got) != 0 {
		t.Errorf("list: %v", got)
	}
}

func TestPublishedPortsAreShownWhileTheyAreOpen(t *testing.T) {
	b := newBench(t)
	id := b.create("web", bindings("443/tcp=8443"))
	if got := b.published(id); got != `{}` {
		t.Errorf("before the start: %s", got)
	}
	must(t, b.Start(ctx, id))
	want := `{"443/tcp":[{"HostIp":"0.0.0.0","HostPort":"8443"},{"HostIp":"::","HostPort":"8443"}],"80/tcp":null}`
	if got := b.published(id); got != want {
		t.Errorf("running: %s, want %s", got, want)
	}
	list, err := b.List(ctx, ListOptions{})
	must(t, err)
	raw, err := json.Marshal(list[0].Ports)
	must(t, err)
	want = `[{"IP":"","PrivatePort":80,"Type":"tcp"},{"IP":"0.0.0.0","PrivatePort":443,"PublicPort":8443,"Type":"tcp"},{"IP":"::","PrivatePort":443,"PublicPort":8443,"Type":"tcp"}]`
	if got := string(raw); got != want {
		t.Errorf("list: %s, want %s", got, want)
	}
	b.end(id, 0)
	if got := b.published(id); got != `{}` {
		t.Errorf("stopped: %s", got)
	}
	if got := b.inspect(id).HostConfig.PortBindings; len(got) != 1 {
		t.Errorf("what was asked for is lost: %v", got)
	}
}

func TestRangesStayRanges(t *testing.T) {
	b := newBench(t)
	var pairs []string
	for i := range 500 {
		pairs = append(pairs, fmt.Sprintf("%d/udp=%d", 20000+i, 30000+i))
	}
	id := b.run("range", bindings(pairs...))
	sb, _ := b.engine.Snapshot().SandboxOf(model.ContainerID(id))
	if len(sb.Publish) != 1 || len(sb.Ports) != 2 {
		t.Errorf("500 ports became %d publications and %d bindings", len(sb.Publish), len(sb.Ports))
	}
	if got := b.inspect(id).NetworkSettings.Ports[network.MustParsePort("20499/udp")]; len(got) != 2 || got[0].HostPort != "30499" {
		t.Errorf("the last port leads to %v", got)
	}
}

func TestPublishAll(t *testing.T) {
	b := newBench(t)
	id := b.run("web", func(r *CreateRequest) {
		r.Host.PublishAllPorts = true
		r.Config.ExposedPorts = network.PortSet{network.MustParsePort("53/udp"): {}, network.MustParsePort("81/tcp"): {}}
		bindings("81/tcp=8081")(r)
	})
	got := b.inspect(id).NetworkSettings.Ports
	if len(got) != 3 || got[network.MustParsePort("81/tcp")][0].HostPort != "8081" {
		t.Fatalf("ports %v", got)
	}
	for _, port := range []string{"80/tcp", "53/udp"} { // the image's, and the user's own
		p := got[network.MustParsePort(port)]
		if len(p) != 2 || p[0].HostPort == "" || p[0].HostPort != p[1].HostPort {
			t.Errorf("%s leads to %v", port, p)
		}
	}
}

func TestPortConflictLeavesTheContainerCreated(t *testing.T) {
	b := newBench(t)
	web := b.run("web", bindings("80/tcp=8080"))
	late := b.create("late", bindings("80/tcp=8080"))
	err := b.Start(ctx, late)
	refused(t, err, model.Unfit, "failed to set up container networking: driver failed programming external connectivity on endpoint late (")
	refused(t, err, model.Unfit, "): Bind for 0.0.0.0:8080 failed: port is already allocated\ncontainer web ("+web[:12]+")")
	if got := b.inspect(late); got.State.Status != "created" {
		t.Errorf("state %s, want created", got.State.Status)
	}
	b.end(web, 0)
	must(t, b.Start(ctx, late))
}

func TestHostModeHasNoPorts(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) {
		r.Host.NetworkMode = "host"
		bindings("80/tcp=8080")(r)
	})
	if got := b.published(id); got != `{}` {
		t.Errorf("ports %s", got)
	}
	b.run("two", bindings("80/tcp=8080"))
}
