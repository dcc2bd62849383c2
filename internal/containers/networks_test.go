package containers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// settingsLines returns the lines of a file that are no comments, in one line.
func settingsLines(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return strings.Join(out, ";")
}

const (
	legacyConf   = "nameserver 192.0.2.1;search example.test"
	internalConf = "nameserver 127.0.0.11;search example.test;options ndots:0"
)

func TestConnectRunning(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) {
		r.Config.Hostname = "h"
		r.Host.ExtraHosts = []string{"gw:host-gateway", "x:192.0.2.7"}
	})
	if got := b.file(id, "hosts"); !strings.HasSuffix(got, "172.17.0.1\tgw\n192.0.2.7\tx\n172.17.0.2\th\n") {
		t.Fatalf("hosts:\n%s", got)
	}
	if got := settingsLines(b.file(id, "resolv.conf")); got != legacyConf {
		t.Fatalf("resolv.conf %s", got)
	}
	must(t, b.Connect(ctx, "one", "web", &network.EndpointSettings{Aliases: []string{"www"}}))
	if got := b.file(id, "hosts"); !strings.HasSuffix(got, "172.17.0.2\th\n172.18.0.2\th\n") {
		t.Fatalf("hosts:\n%s", got)
	}
	if got := settingsLines(b.file(id, "resolv.conf")); got != internalConf {
		t.Fatalf("resolv.conf %s", got)
	}
	refused(t, b.Connect(ctx, "one", "web", nil), model.Forbidden, "endpoint with name one already exists in network web")
	refused(t, b.Connect(ctx, "one", "nobody", nil), model.NotFound, "network nobody not found")
	refused(t, b.Connect(ctx, "nobody", "web", nil), model.NotFound, "No such container: nobody")
	must(t, b.Disconnect(ctx, "one", "web", false))
	if got := b.file(id, "hosts"); strings.Contains(got, "172.18.") || !strings.Contains(got, "192.0.2.7\tx") {
		t.Fatalf("hosts:\n%s", got)
	}
	if got := settingsLines(b.file(id, "resolv.conf")); got != legacyConf {
		t.Fatalf("resolv.conf %s", got)
	}
	refused(t, b.Disconnect(ctx, "one", "web", false), model.Unfit, "is not connected to network web")
	refused(t, b.Disconnect(ctx, "one", "web", true), model.Unfit, "is not connected to network web")
	refused(t, b.Disconnect(ctx, "one", "nobody", false), model.NotFound, "network nobody not found")
	refused(t, b.Disconnect(ctx, "one", "nobody", true), model.Unfit, "is not connected to network nobody")
	refused(t, b.Disconnect(ctx, "nobody", "web", true), model.NotFound, "endpoint nobody not found")
	refused(t, b.Disconnect(ctx, "nobody", "nowhere", true), model.NotFound, "network nowhere not found")
	got := b.actions()
	equal(t, "events", got[len(got)-2:], []string{"network connect", "network disconnect"})
}

func TestUserEditsStay(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	dir := b.dirs.Of(model.ContainerID(id))
	must(t, os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte("nameserver 203.0.113.5\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "hosts"), []byte(b.file(id, "hosts")+"203.0.113.6\tmine\n"), 0o600))
	must(t, b.Connect(ctx, id, "web", nil))
	if got := b.file(id, "resolv.conf"); got != "nameserver 203.0.113.5\n" {
		t.Fatalf("resolv.conf %q", got)
	}
	if got := b.file(id, "hosts"); !strings.Contains(got, "203.0.113.6\tmine\n172.18.0.2\t") {
		t.Fatalf("hosts:\n%s", got)
	}
	b.end(id, 0)
	must(t, b.Start(ctx, id))
	if got := settingsLines(b.file(id, "resolv.conf")); got != internalConf {
		t.Fatalf("a start writes it anew: %s", got)
	}
}

func TestConnectStopped(t *testing.T) {
	b := newBench(t)
	id := b.create("one", nil)
	must(t, b.Connect(ctx, id, "web", nil))
	if got := b.inspect(id).NetworkSettings.Networks; len(got) != 2 || got["web"].IPAddress.IsValid() {
		t.Fatalf("networks %+v", got)
	}
	must(t, b.Connect(ctx, id, "web", &network.EndpointSettings{Aliases: []string{"www"}})) // is so already
	if got := b.inspect(id).NetworkSettings.Networks["web"].Aliases; len(got) != 0 {
		t.Fatalf("aliases %v", got)
	}
	equal(t, "events", b.actions(), []string{"create"})
	must(t, b.Start(ctx, id))
	if got := b.inspect(id).NetworkSettings.Networks["web"].IPAddress.String(); got != "172.18.0.2" {
		t.Fatalf("address %s", got)
	}
}

func TestHostMode(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) { r.Host.NetworkMode = "host" })
	name, err := os.Hostname()
	must(t, err)
	if b.file(id, "hosts") != "127.0.0.1\tthehost\n" || b.file(id, "hostname") != name+"\n" {
		t.Fatalf("hosts %q, hostname %q", b.file(id, "hosts"), b.file(id, "hostname"))
	}
	if spec := b.runtime.made[model.ContainerID(id)]; spec.Netns != "" || spec.Hostname != name {
		t.Fatalf("spec %+v", spec)
	}
	refused(t, b.Connect(ctx, id, "web", nil), model.Invalid, "container sharing network namespace with another container or host")
}

func TestContainerMode(t *testing.T) {
	b := newBench(t)
	join := func(r *CreateRequest) { r.Host.NetworkMode = "container:web" }
	guest := b.create("guest", join)
	refused(t, b.Start(ctx, guest), model.NotFound, "joining network namespace of container: No such container: web")
	web := b.create("web", func(r *CreateRequest) { r.Config.Hostname = "webhost" })
	refused(t, b.Start(ctx, guest), model.Conflict, "cannot join network namespace of a non running container: container "+web+" is created")
	must(t, b.Start(ctx, web))
	must(t, b.Start(ctx, guest))
	spec := b.runtime.made[model.ContainerID(guest)]
	if spec.Hostname != "webhost" {
		t.Fatalf("host name %s", spec.Hostname)
	}
	for path, want := range map[string]string{
		spec.Netns:                       filepath.Join(model.NetnsDir, model.NamespaceOf(model.ContainerID(web))),
		b.dirs.Files(spec.ID).Hosts:      b.dirs.Files(model.ContainerID(web)).Hosts,
		b.dirs.Files(spec.ID).ResolvConf: b.dirs.Files(model.ContainerID(web)).ResolvConf,
		b.dirs.Files(spec.ID).Hostname:   b.dirs.Files(model.ContainerID(web)).Hostname,
	} {
		if got, err := os.Readlink(path); err != nil || got != want {
			t.Errorf("%s leads to %s, %v", path, got, err)
		}
	}
	if got := b.inspect(guest).NetworkSettings.Networks; len(got) != 0 {
		t.Fatalf("networks of its own: %v", got)
	}
	refused(t, b.Connect(ctx, guest, "web", nil), model.Invalid, ops.SharedNetworking)
	self := b.create("self", func(r *CreateRequest) { r.Host.NetworkMode = "container:self" })
	refused(t, b.Start(ctx, self), model.Unfit, "cannot join own network namespace")
}

func TestDaemonDefaults(t *testing.T) {
	b := newBench(t)
	b.Manager.o.Defaults.DNSSearch = []string{"corp.test"}
	b.Manager.o.Defaults.DNSOptions = []string{"ndots:3"}
	id := b.run("one", func(r *CreateRequest) { r.Host.NetworkMode = "web"; r.Host.DNSSearch = []string{"own.test"} })
	if got := settingsLines(b.file(id, "resolv.conf")); got != "nameserver 127.0.0.11;search own.test;options ndots:3" {
		t.Fatalf("resolv.conf %s", got)
	}
	if sb, _ := b.engine.Snapshot().SandboxOf(model.ContainerID(id)); sb.DNS.NDots != 3 || len(sb.DNS.Servers) != 0 {
		t.Fatalf("resolver %+v", sb.DNS)
	}
}
