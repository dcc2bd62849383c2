package containers

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// refusal is a request and a part of the answer to it.
type refusal struct {
	text   string
	change func(*CreateRequest)
}

func networkRefusals() []refusal {
	port := network.MustParsePort("80/tcp")
	return []refusal{
		{"invalid network mode: invalid container format container:<name|id>", func(r *CreateRequest) { r.Host.NetworkMode = "container:" }},
		{"conflicting options: hostname and the network mode", func(r *CreateRequest) { r.Host.NetworkMode = "container:x"; r.Config.Hostname = "h" }},
		{"conflicting options: container type network can't be used with links. This would result in undefined behavior",
			func(r *CreateRequest) { r.Host.NetworkMode = "container:x"; r.Host.Links = []string{"a:b"} }},
		{"conflicting options: dns and the network mode", func(r *CreateRequest) {
			r.Host.NetworkMode = "container:x"
			r.Host.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		}},
		{"conflicting options: custom host-to-IP mapping and the network mode",
			func(r *CreateRequest) {
				r.Host.NetworkMode = "container:x"
				r.Host.ExtraHosts = []string{"a:192.0.2.1"}
			}},
		{"conflicting options: port publishing and the container type network mode",
			func(r *CreateRequest) { r.Host.NetworkMode = "container:x"; r.Host.PublishAllPorts = true }},
		{"conflicting options: port exposing and the container type network mode", func(r *CreateRequest) {
			r.Host.NetworkMode = "container:x"
			r.Config.ExposedPorts = network.PortSet{port: {}}
		}},
		{"conflicting options: host type networking can't be used with links. This would result in undefined behavior",
			func(r *CreateRequest) { r.Host.NetworkMode = "host"; r.Host.Links = []string{"a:b"} }},
		{"conflicting options: hostname and the UTS mode", func(r *CreateRequest) { r.Host.UTSMode = "host"; r.Config.Hostname = "h" }},
		{"is too long (maximum 64 bytes)", func(r *CreateRequest) { r.Config.Hostname = strings.Repeat("h", 65) }},
		{"invalid hostname", func(r *CreateRequest) { r.Config.Hostname = "a\n192.0.2.1 b" }},
		{"must be supplied using driver option 'com.docker.network.endpoint.sysctls'",
			func(r *CreateRequest) { r.Host.Sysctls = map[string]string{"net.ipv4.conf.eth0.forwarding": "1"} }},
		{`invalid port specification: "99999"`, func(r *CreateRequest) {
			r.Host.PortBindings = network.PortMap{port: {{HostPort: "99999"}}}
		}},
		{`bad format for add-host: "nonsense"`, func(r *CreateRequest) { r.Host.ExtraHosts = []string{"nonsense"} }},
		{`invalid IP address in add-host: "300.1.1.1"`, func(r *CreateRequest) { r.Host.ExtraHosts = []string{"a:300.1.1.1"} }},
		{"invalid config for network bridge: invalid endpoint settings:\nuser-specified IP address is supported on user-defined networks only",
			func(r *CreateRequest) {
				settle(r, "bridge", &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("172.17.0.9")}})
			}},
		{"network-scoped aliases are only supported for user-defined networks",
			func(r *CreateRequest) { settle(r, "default", &network.EndpointSettings{Aliases: []string{"x"}}) }},
		{"invalid link-local IP address: 192.0.2.1", func(r *CreateRequest) {
			r.Host.NetworkMode = "web"
			settle(r, "web", &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{LinkLocalIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}})
		}},
		{"no configured subnet contains IP address 10.8.0.1", func(r *CreateRequest) {
			r.Host.NetworkMode = "web"
			settle(r, "web", &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("10.8.0.1")}})
		}},
		{"EndpointsConfig is nil", func(r *CreateRequest) { settle(r, "web", nil) }},
		{"private (none) mode", func(r *CreateRequest) {
			r.Host.NetworkMode = "none"
			settle(r, "web", &network.EndpointSettings{})
		}},
		{"cannot be connected to any other network", func(r *CreateRequest) {
			r.Host.NetworkMode = "host"
			settle(r, "web", &network.EndpointSettings{})
		}},
	}
}

func otherRefusals() []refusal {
	return []refusal{
		{"can't create 'AutoRemove' container with restart policy",
			func(r *CreateRequest) {
				r.Host.AutoRemove = true
				r.Host.RestartPolicy.Name = container.RestartPolicyAlways
			}},
		{"unknown policy", func(r *CreateRequest) { r.Host.RestartPolicy.Name = "sometimes" }},
		{"no log driver named 'fluentd' is registered", func(r *CreateRequest) { r.Host.LogConfig.Type = "fluentd" }},
		{"Invalid container name (/), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", func(r *CreateRequest) { r.Name = "//" }},
		{"Invalid container name (a)", func(r *CreateRequest) { r.Name = "a" }},
		{"Invalid container name (-ab)", func(r *CreateRequest) { r.Name = "-ab" }},
		{"invalid volume specification: 'a:b:c:d'", func(r *CreateRequest) { r.Host.Binds = []string{"a:b:c:d"} }},
		{"mount path must be absolute", func(r *CreateRequest) { r.Host.Binds = []string{"/tmp:relative"} }},
		{"includes invalid characters for a local volume name", func(r *CreateRequest) { r.Host.Binds = []string{"../etc:/x"} }},
		{"Duplicate mount point: /x", func(r *CreateRequest) {
			r.Host.Tmpfs = map[string]string{"/x": "", "/x/": ""}
		}},
		{"bind source path does not exist: /does/not/exist", func(r *CreateRequest) {
			r.Host.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: "/does/not/exist", Target: "/x"}}
		}},
		{"Duplicate mount point: /x", func(r *CreateRequest) { r.Host.Binds = []string{"/tmp:/x", "/tmp:/x"} }},
		{"invalid volume specification: '/tmp:/a/..': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
			func(r *CreateRequest) { r.Host.Binds = []string{"/tmp:/a/.."} }},
		{`plugin "nfs" not found`, func(r *CreateRequest) {
			r.Host.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: "vol", Target: "/x", VolumeOptions: &mount.VolumeOptions{
				DriverConfig: &mount.Driver{Name: "nfs"}}}}
		}},
		{"No such container: nobody", func(r *CreateRequest) { r.Host.VolumesFrom = []string{"nobody"} }},
		{`invalid CapAdd: unknown capability: "CAP_BOGUS"`, func(r *CreateRequest) { r.Host.CapAdd = []string{"BOGUS"} }},
		{"unknown log opt 'odd' for json-file log driver", func(r *CreateRequest) {
			r.Host.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"odd": "1", "max-size": "1k"}}
		}},
		{"failed to initialize logging driver: invalid size: 'big'", func(r *CreateRequest) {
			r.Host.LogConfig.Config = map[string]string{"max-size": "big"}
		}},
		{"failed to initialize logging driver: max-file", func(r *CreateRequest) {
			r.Host.LogConfig.Config = map[string]string{"max-file": "0"}
		}},
		{"unknown or invalid runtime name: odd", func(r *CreateRequest) { r.Host.Runtime = "odd" }},
		{"invalid isolation 'hyperv' on linux", func(r *CreateRequest) { r.Host.Isolation = "hyperv" }},
		{"SHM size can not be less than 0", func(r *CreateRequest) { r.Host.ShmSize = -1 }},
		{"range for oom score adj is [-1000, 1000]", func(r *CreateRequest) { r.Host.OomScoreAdj = -1001 }},
		{"error looking up volume plugin nfs", func(r *CreateRequest) {
			r.Host.VolumeDriver, r.Host.Binds = "nfs", []string{"vol:/x"}
		}},
		{"error looking up volume plugin foo", func(r *CreateRequest) {
			r.Host.VolumeDriver, r.Config.Volumes = "foo", map[string]struct{}{"/x": {}}
		}},
		{"volumes-from specification cannot be an empty string", func(r *CreateRequest) { r.Host.VolumesFrom = []string{""} }},
		{"invalid mode: bar", func(r *CreateRequest) { r.Host.VolumesFrom = []string{"x:bar"} }},
		{"invalid mode: nocopy", func(r *CreateRequest) { r.Host.VolumesFrom = []string{"x:nocopy"} }},
		{"invalid mode: rslave", func(r *CreateRequest) { r.Host.VolumesFrom = []string{"x:rslave"} }},
		{"invalid mode: ro,rw", func(r *CreateRequest) { r.Host.VolumesFrom = []string{"x:ro,rw"} }},
		{"invalid Annotations: the empty string is not permitted as an annotation key", func(r *CreateRequest) {
			r.Host.Annotations = map[string]string{"": "x"}
		}},
		{`invalid hostname: "a\x00b"`, func(r *CreateRequest) { r.Config.Hostname = "a\x00b" }},
		{`invalid hostname: "a\x1b[2J"`, func(r *CreateRequest) { r.Config.Domainname = "a\x1b[2J" }},
		{"is too long (maximum 64 bytes)", func(r *CreateRequest) { r.Config.Domainname = strings.Repeat("d", 65) }},
		{"needs to be an absolute path", func(r *CreateRequest) { r.Config.WorkingDir = "x" }},
	}
}

func TestCreateRefuses(t *testing.T) {
	for _, c := range slices.Concat(networkRefusals(), otherRefusals()) {
		t.Run(c.text, func(t *testing.T) {
			b := newBench(t)
			_, _, err := b.Create(ctx, request("one", c.change))
			refused(t, err, model.Invalid, c.text)
			if b.engine.count() != 0 {
				t.Fatal("something is left of it")
			}
		})
	}
	b := newBench(t)
	_, _, err := b.Create(ctx, CreateRequest{Config: &container.Config{Image: "nope"}})
	refused(t, err, model.NotFound, "No such image: nope:latest")
}

func settle(r *CreateRequest, name string, s *network.EndpointSettings) {
	r.Networking = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{name: s}}
}

func TestNames(t *testing.T) {
	b := newBench(t)
	id := b.create("one", nil)
	_, _, err := b.Create(ctx, request("/one", nil))
	refused(t, err, model.Conflict, `Conflict. The container name "/one" is already in use by container "`+id+
		`". You have to remove (or rename) that container to be able to reuse that name.`)
	for _, ref := range []string{id, "one", "/one", id[:12], id[:3]} {
		if got := b.inspect(ref).ID; got != id {
			t.Fatalf("%s leads to %s", ref, got)
		}
	}
	_, err = b.Inspect(ctx, "nobody")
	refused(t, err, model.NotFound, "No such container: nobody")
	other := newEntry(record{ID: model.ContainerID(id[:10] + strings.Repeat("0", 54))})
	b.entries[other.id] = other
	_, err = b.find(id[:8])
	refused(t, err, model.Invalid, "multiple IDs found with provided prefix: "+id[:8])
	delete(b.entries, other.id)

	generated := b.inspect(b.create("", nil)).Name
	if containerspec.CheckName(generated[1:]) != nil || !strings.Contains(generated, "_") {
		t.Fatalf("generated name %s", generated)
	}
}

func TestCreateMergesImage(t *testing.T) {
	b := newBench(t)
	got := b.inspect(b.create("one", func(r *CreateRequest) {
		r.Config.Env = []string{"A=user"}
		r.Config.Labels = map[string]string{"who": "user"}
	}))
	equal(t, "env", got.Config.Env, []string{"A=user", "PATH=/bin"})
	c := got.Config
	if c.User != "nobody" || c.WorkingDir != "/srv" || c.Labels["who"] != "user" || c.Labels["from"] != "image" ||
		len(c.ExposedPorts) != 1 || got.Path != "sh" || c.Hostname != got.ID[:12] || got.HostConfig.NetworkMode != "bridge" {
		t.Fatalf("merged: %+v, mode %s", c, got.HostConfig.NetworkMode)
	}
	got = b.inspect(b.create("two", func(r *CreateRequest) { r.Config.Entrypoint = []string{"echo"} }))
	if got.Path != "echo" || len(got.Args) != 0 {
		t.Fatalf("an entrypoint leaves the image's command out: %s %v", got.Path, got.Args)
	}
	_, _, err := b.Create(ctx, request("", func(r *CreateRequest) { r.Config.Entrypoint = []string{""} }))
	if err != nil { // [""] takes the image's command
		refused(t, err, model.Invalid, "no command specified")
	}
}

// TestLogOptions: options given without a driver are for the default one, and what
// they leave out comes from the daemon's.
func TestLogOptions(t *testing.T) {
	b := newBench(t)
	b.o.Defaults.LogOptions = map[string]string{"max-size": "1m", "max-file": "2"}
	got := b.inspect(b.create("one", func(r *CreateRequest) {
		r.Host.LogConfig.Config = map[string]string{"max-size": "10k"}
	})).HostConfig.LogConfig
	if got.Type != "json-file" || !maps.Equal(got.Config, map[string]string{"max-size": "10k", "max-file": "2"}) {
		t.Errorf("json-file: %+v", got)
	}
	got = b.inspect(b.create("two", func(r *CreateRequest) { r.Host.LogConfig.Type = "none" })).HostConfig.LogConfig
	if got.Type != "none" || got.Config == nil || len(got.Config) != 0 {
		t.Errorf("another driver: %+v", got)
	}
}

func TestCreateWarns(t *testing.T) {
	b := newBench(t)
	_, got, err := b.Create(ctx, request("one", func(r *CreateRequest) {
		r.Host.NetworkMode = "host"
		r.Host.PortBindings = network.PortMap{network.MustParsePort("80/tcp"): {{HostPort: "8080"}}}
	}))
	must(t, err)
	equal(t, "warnings", got, []string{"Published ports are discarded when using host network mode"})

	port := network.MustParsePort("80/tcp")
	_, got, err = b.Create(ctx, request("two", func(r *CreateRequest) {
		r.Host.PortBindings = network.PortMap{port: {{HostPort: "8080"}}}
		r.Host.Links = []string{b.create("target", nil) + ":uno"}
	}))
	must(t, err)
	equal(t, "warnings", got, []string{
		"Links on the default bridge network are deprecated and will be removed in a future release. Use a custom network instead."})
	_, _, err = b.Create(ctx, request("limited", func(r *CreateRequest) { r.Host.StorageOpt = map[string]string{"size": "1G"} }))
	refused(t, err, model.Unfit, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
	_, got, err = b.Create(ctx, request("three", func(r *CreateRequest) { r.Host.PublishAllPorts = true }))
	must(t, err)
	equal(t, "warnings", got, nil)
}

func TestCreateUndone(t *testing.T) {
	b := newBench(t)
	b.engine.fail = errBroken
	_, _, err := b.Create(ctx, request("one", func(r *CreateRequest) { r.Host.Binds = []string{"/data"} }))
	if !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	b.nothingLeft()
	volumes, err := os.ReadDir(filepath.Join(b.root, "data", "volumes"))
	if err != nil || len(volumes) != 0 {
		t.Fatalf("volumes left: %v %v", volumes, err)
	}
	b.create("one", nil)
}

func TestSeveralNetworks(t *testing.T) {
	b := newBench(t)
	web, _ := b.engine.Snapshot().NetworkNamed("web")
	id := b.run("one", func(r *CreateRequest) {
		r.Host.NetworkMode = "web"
		r.Networking = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			string(web.ID): {Aliases: []string{"www"}}, "bridge": {}}}
	})
	got := b.inspect(id).NetworkSettings.Networks
	if len(got) != 2 || got["web"].IPAddress.String() != "172.18.0.2" {
		t.Fatalf("networks %+v", got)
	}
	equal(t, "DNS names", got["web"].DNSNames, []string{"one", "www", id[:12]})
}

func TestMissingNetwork(t *testing.T) {
	b := newBench(t)
	id := b.create("one", func(r *CreateRequest) { r.Host.NetworkMode = "nobody" })
	refused(t, b.Start(ctx, id), model.NotFound, "failed to set up container networking: network nobody not found")
}

func TestMounts(t *testing.T) {
	b := newBench(t)
	source := filepath.Join(b.root, "made")
	id := b.run("one", func(r *CreateRequest) {
		r.Host.Binds = []string{source + ":/bound:ro,rslave", "named:/vol"}
		r.Config.Volumes = map[string]struct{}{"/anon": {}, "/vol": {}}
		r.Host.Tmpfs = map[string]string{"/tmp": "size=1m,ro"}
		r.Host.Mounts = []mount.Mount{{Type: mount.TypeTmpfs, Target: "/t2", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 5, Mode: 0o700}}}
	})
	if _, err := os.Stat(source); err != nil {
		t.Fatal("-v makes a missing source:", err)
	}
	got := map[string]model.Mount{}
	for _, m := range b.runtime.made[model.ContainerID(id)].Mounts {
		got[m.Target] = m
	}
	if m := got["/bound"]; !m.ReadOnly || m.Propagation != "rslave" || m.Source != source {
		t.Errorf("bind %+v", m)
	}
	if m := got["/vol"]; m.Source != filepath.Join(b.root, "data/volumes/named/_data") || m.ReadOnly {
		t.Errorf("volume %+v", m)
	}
	if m := got["/tmp"]; m.Type != "tmpfs" || !m.ReadOnly || !slices.Contains(m.Options, "size=1m") {
		t.Errorf("tmpfs %+v", m)
	}
	equal(t, "tmpfs options", got["/t2"].Options, []string{"mode=700", "size=5"})
	for _, own := range []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"} {
		if m := got[own]; m.Type != "bind" || m.ReadOnly {
			t.Errorf("%s: %+v", own, m)
		}
	}
	var listed []string
	for _, p := range b.inspect(id).Mounts {
		listed = append(listed, p.Destination)
	}
	equal(t, "mounts that inspect lists: not those of --tmpfs", listed, []string{"/anon", "/bound", "/t2", "/vol"})
	anonymous := got["/anon"].Source
	must(t, b.Remove(ctx, id, RemoveOptions{Force: true, Volumes: true}))
	if exists(anonymous) || !exists(got["/vol"].Source) {
		t.Error("rm -v removes anonymous volumes, and no others")
	}
}
