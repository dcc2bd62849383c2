package containers

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// on gives a request memberships.
func on(mode string, names ...string) func(*CreateRequest) {
	return func(r *CreateRequest) {
		r.Host.NetworkMode = container.NetworkMode(mode)
		r.Networking = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
		for _, name := range names {
			r.Networking.EndpointsConfig[name] = &network.EndpointSettings{}
		}
	}
}

// TestMembershipsAreThoseGiven: a mode names a network only where no membership is
// given.
func TestMembershipsAreThoseGiven(t *testing.T) {
	for _, c := range []struct {
		mode  string
		given []string
		want  []string // in order of joining
	}{
		{"", nil, []string{"bridge"}},
		{"default", nil, []string{"bridge"}},
		{"web", nil, []string{"web"}},
		{"", []string{"web"}, []string{"web"}},
		{"default", []string{"db", "web"}, []string{"db", "web"}},
		{"bridge", []string{"db", "web"}, []string{"db", "web"}},
		{"web", []string{"db", "web"}, []string{"web", "db"}},
		{"", []string{"default", "web"}, []string{"bridge", "web"}},
		{"web", []string{"db"}, []string{"db"}},
	} {
		b := newBench(t)
		b.network(testNetwork("db", "bridge", "172.19.0.0/16"))
		id := b.run("", on(c.mode, c.given...))
		view := b.engine.Snapshot()
		sb, _ := view.SandboxOf(model.ContainerID(id))
		var got []string
		for _, e := range view.EndpointsInOrder(sb.ID) {
			n, _ := view.Network(e.Network)
			got = append(got, n.Name)
		}
		equal(t, c.mode+" "+strings.Join(c.given, ","), got, c.want)
	}
}

// network adds a network.
func (b *bench) network(n model.Network) {
	b.t.Helper()
	_, err := b.engine.Do(ctx, func(tx ops.Tx) error { tx.PutNetwork(n); return nil })
	must(b.t, err)
}

// TestGatewayOfContainers: inspect shows the gateway that containers have, which an
// auxiliary address may name.
func TestGatewayOfContainers(t *testing.T) {
	b := newBench(t)
	n := testNetwork("other", "bridge", "172.19.0.0/16")
	n.IPv6 = true
	n.IPAM.Pools[0].Aux = map[string]netip.Addr{"DefaultGatewayIPv4": netip.MustParseAddr("172.19.0.254")}
	n.IPAM.Pools = append(n.IPAM.Pools, model.Pool{Subnet: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParseAddr("fd00::1"),
		Aux: map[string]netip.Addr{"DefaultGatewayIPv6": netip.MustParseAddr("fd00::fe")}})
	b.network(n)
	got := b.inspect(b.run("one", on("other"))).NetworkSettings.Networks["other"]
	if got.Gateway.String() != "172.19.0.254" || got.IPv6Gateway.String() != "fd00::fe" {
		t.Errorf("gateways %s, %s", got.Gateway, got.IPv6Gateway)
	}
}

// TestIPv6SwitchedOff: a container that has IPv6 switched off has no such address,
// and neither its hosts file nor its names say so.
func TestIPv6SwitchedOff(t *testing.T) {
	b := newBench(t)
	n := testNetwork("six", "bridge", "172.19.0.0/16")
	n.IPv6 = true
	n.IPAM.Pools = append(n.IPAM.Pools, model.Pool{Subnet: netip.MustParsePrefix("fd00::/64"), Gateway: netip.MustParseAddr("fd00::1")})
	b.network(n)
	for _, c := range []struct {
		sysctl, value, option string
		off                   bool
	}{
		{"net.ipv6.conf.all.disable_ipv6", "1", "", true},
		{"net.ipv6.conf.default.disable_ipv6", "1", "", true},
		{"net.ipv6.conf.all.disable_ipv6", "0", "", false},
		{"net.ipv4.ip_forward", "1", "", false},
		{"", "", "net.ipv6.conf.IFNAME.disable_ipv6=1", true},
		{"", "", "net.ipv6.conf.IFNAME.disable_ipv6=0", false},
	} {
		id := b.run("", func(r *CreateRequest) {
			on("six", "six")(r)
			r.Host.Sysctls = map[string]string{c.sysctl: c.value}
			r.Networking.EndpointsConfig["six"].DriverOpts = map[string]string{"com.docker.network.endpoint.sysctls": c.option}
		})
		got := b.inspect(id).NetworkSettings.Networks["six"]
		if got.GlobalIPv6Address.IsValid() == c.off || got.IPv6Gateway.IsValid() == c.off || !got.IPAddress.IsValid() {
			t.Errorf("%+v: %s, %s", c, got.GlobalIPv6Address, got.IPv6Gateway)
		}
		if strings.Contains(b.file(id, "hosts"), "fd00::") == c.off {
			t.Errorf("%+v: hosts\n%s", c, b.file(id, "hosts"))
		}
	}
}

// TestReadOnlyFiles: with --read-only the three files cannot be written to from
// inside, and follow the networks all the same.
func TestReadOnlyFiles(t *testing.T) {
	b := newBench(t)
	for _, readOnly := range []bool{true, false} {
		id := b.run("", func(r *CreateRequest) { r.Host.ReadonlyRootfs = readOnly })
		found := 0
		for _, mount := range b.runtime.made[model.ContainerID(id)].Mounts {
			if slices.Contains([]string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}, mount.Target) {
				if found++; mount.ReadOnly != readOnly {
					t.Errorf("%s: read-only %v, want %v", mount.Target, mount.ReadOnly, readOnly)
				}
			}
		}
		if found != 3 {
			t.Errorf("%d files are mounted", found)
		}
		must(t, b.Connect(ctx, id, "web", nil))
		if !strings.Contains(b.file(id, "hosts"), "172.18.0.") {
			t.Errorf("hosts\n%s", b.file(id, "hosts"))
		}
	}
}

// TestPortFilters: "publish" is a port of the host, "expose" one of the container's.
func TestPortFilters(t *testing.T) {
	b := newBench(t)
	id := b.run("web", bindings("90/tcp=1090"))
	b.create("stopped", bindings("91/tcp=1091"))
	for filter, want := range map[string]bool{
		"publish=1090": true, "publish=1090/tcp": true, "publish=1000-1100": true, "publish=90": false, "publish=1090/udp": false,
		"publish=1091": false, "publish=0-10": false,
		"expose=90": true, "expose=80": true, "expose=80-90/tcp": true, "expose=1090": false, "expose=91": false, "expose=90/udp": false,
	} {
		key, value, _ := strings.Cut(filter, "=")
		list, err := b.List(ctx, ListOptions{All: true, Filters: Filters{key: {value}}})
		must(t, err)
		if found := len(list) == 1 && list[0].ID == id; found != want || len(list) > 1 {
			t.Errorf("%s: %d containers, want %v", filter, len(list), want)
		}
	}
	list, err := b.List(ctx, ListOptions{Filters: Filters{"publish": {"1"}, "expose": {"90"}}}) // either
	must(t, err)
	if len(list) != 1 {
		t.Errorf("either: %d", len(list))
	}
}

// TestNamesOfLinks: a container is found by the name of a link to it.
func TestNamesOfLinks(t *testing.T) {
	b := newBench(t)
	db := b.run("db", nil)
	b.run("app", func(r *CreateRequest) { r.Host.Links = []string{"db:mysql"} })
	for _, ref := range []string{"app/mysql", "/app/mysql"} {
		if got := b.inspect(ref).ID; got != db {
			t.Errorf("%s leads to %s", ref, got)
		}
	}
	for _, ref := range []string{"app/other", "db/mysql", "app/", "/mysql", "app/mysql/more"} {
		_, err := b.Inspect(ctx, ref)
		refused(t, err, model.NotFound, "No such container")
	}
	must(t, b.Remove(ctx, db, RemoveOptions{Force: true}))
	_, err := b.Inspect(ctx, "app/mysql")
	refused(t, err, model.NotFound, "No such container")
}

// TestSharedNetworkByID: the container whose network is shared may be renamed.
func TestSharedNetworkByID(t *testing.T) {
	b := newBench(t)
	owner := b.run("owner", nil)
	id := b.run("one", func(r *CreateRequest) { r.Host.NetworkMode = "container:owner" })
	if got := string(b.inspect(id).HostConfig.NetworkMode); got != "container:"+owner {
		t.Fatalf("mode %s", got)
	}
	must(t, b.Rename(ctx, "owner", "renamed"))
	must(t, b.Restart(ctx, id, StopOptions{}))
	late := b.create("late", func(r *CreateRequest) { r.Host.NetworkMode = "container:nobody" })
	if got := b.inspect(late).HostConfig.NetworkMode; got != "container:nobody" {
		t.Errorf("a mode that leads nowhere became %s", got)
	}
	refused(t, b.Start(ctx, late), model.NotFound, "No such container: nobody")
	// A record of an earlier release has the name.
	entry, err := b.find(id)
	must(t, err)
	old := *entry.rec.Host
	old.NetworkMode = "container:renamed"
	entry.edit(func(r *record) { r.Host = &old })
	must(t, b.records.Save(ctx, entry.snapshot().plain()))
	b.reopen(nil)
	if got := string(b.inspect(id).HostConfig.NetworkMode); got != "container:"+owner {
		t.Errorf("after an upgrade: %s", got)
	}
}

// TestInspectAsScriptsExpect: what Docker fills in and cleans.
func TestInspectAsScriptsExpect(t *testing.T) {
	b := newBench(t)
	got := b.inspect(b.create("one", func(r *CreateRequest) {
		r.Config.WorkingDir, r.Host.VolumeDriver = "/tmp//x/../", "foo" // no volume has that driver
	}))
	if got.Config.WorkingDir != "/tmp" || got.HostConfig.Runtime != "runc" || got.Config.Volumes != nil || got.Config.Labels == nil {
		t.Errorf("working directory %q, runtime %q, volumes %v", got.Config.WorkingDir, got.HostConfig.Runtime, got.Config.Volumes)
	}
}

// TestVolumesFrom: a mode may be a list, of which "ro" counts.
func TestVolumesFrom(t *testing.T) {
	b := newBench(t)
	b.create("src", func(r *CreateRequest) { r.Host.Binds = []string{"vol:/x"} })
	for spec, rw := range map[string]bool{"src": true, "src:": true, "src:rw": true, "src:z": true, "src:ro": false, "src:ro,z": false, "src:Z,ro,cached": false} {
		got := b.inspect(b.create("", func(r *CreateRequest) { r.Host.VolumesFrom = []string{spec} })).Mounts
		if len(got) != 1 || got[0].RW != rw {
			t.Errorf("%s: %+v", spec, got)
		}
	}
}

// TestExecIDs: inspect shows the execs that have not ended.
func TestExecIDs(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	if got := b.inspect(id).ExecIDs; got != nil {
		t.Errorf("none is %v", got)
	}
	exec, err := b.CreateExec(ctx, id, container.ExecCreateRequest{Cmd: []string{"true"}})
	must(t, err)
	equal(t, "made", b.inspect(id).ExecIDs, []string{exec})
	must(t, b.StartExec(ctx, exec, ExecStart{Detach: true}, Streams{}))
	equal(t, "running", b.inspect(id).ExecIDs, []string{exec})
	b.runtime.finish(b.runtime.execs[exec], 0)
	soon(t, "it has ended", func() bool { return b.inspect(id).ExecIDs == nil })
	got, err := b.InspectExec(ctx, exec)
	if must(t, err); got.ExitCode == nil || *got.ExitCode != 0 {
		t.Errorf("%+v", got)
	}
}

func TestTopIsAnEvent(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	_, err := b.Top(ctx, id, nil)
	must(t, err)
	if got := b.actions(); got[len(got)-1] != "top" {
		t.Errorf("events %v", got)
	}
}

// TestPruneTellsWhatItFreed: of the containers that it removed, and of no other.
func TestPruneTellsWhatItFreed(t *testing.T) {
	b := newBench(t)
	id := b.create("one", nil)
	b.create("two", nil)
	b.reopen(func() { b.sizes = sizes{model.ContainerID(id)} })
	report, err := b.Prune(ctx, Filters{})
	must(t, err)
	if report.SpaceReclaimed != 7 || len(report.ContainersDeleted) != 2 {
		t.Errorf("%+v", report)
	}
	past, _ := b.Subscribe(ctx, time.Unix(1, 0), time.Time{}, func(e events.Message) bool { return e.Action == events.ActionPrune })
	if len(past) != 1 || past[0].Actor.Attributes["reclaimed"] != "7" {
		t.Errorf("events %+v", past)
	}
}
