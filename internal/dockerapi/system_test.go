package dockerapi

import (
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"

	daemon "github.com/linkspan/linkspan/internal/dockerapi/system"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

func TestInfo(t *testing.T) {
	b := newBench(t)
	b.with(func(o *Options) {
		o.Info.Pools = []daemon.AddressPool{{Base: netip.MustParsePrefix("172.17.0.0/16"), Size: 16}}
		o.Info.DataRoot, o.Info.LogDriver, o.Info.StorageDriver = "/var/lib/linkspan", "json-file", "native"
		o.Info.Components = []daemon.Component{{Name: "containerd", Version: "1.6.20", GitCommit: "abc"}, {Name: "runc", Version: "1.1.5", GitCommit: "def"}}
	})
	var info system.Info
	if err := json.Unmarshal(b.ask("GET", "/info", "").Body.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	if info.Containers != 6 || info.ContainersRunning != 3 || info.ContainersPaused != 2 || info.ContainersStopped != 1 || info.Images != 1 {
		t.Errorf("counts: %+v", info)
	}
	if info.Driver != "native" || strings.Join(info.Plugins.Network, " ") != "bridge host ipvlan macvlan null overlay" || info.FirewallBackend.Driver != "nftables" ||
		!info.LiveRestoreEnabled || info.DefaultRuntime != "runc" || info.CgroupDriver != "cgroupfs" || info.ServerVersion != "29.7.2+linkspan.0.1.0" ||
		info.DefaultAddressPools[0].Base.String() != "172.17.0.0/16" || info.ContainerdCommit.ID != "abc" || info.RuncCommit.ID != "def" ||
		string(info.Swarm.LocalNodeState) != "inactive" || info.DockerRootDir != "/var/lib/linkspan" {
		t.Errorf("%+v", info)
	}
	if host, err := os.Hostname(); err == nil && info.Name != host || info.NCPU < 1 || info.MemTotal < 1<<20 || info.KernelVersion == "" {
		t.Errorf("host: %q %d %d %q", info.Name, info.NCPU, info.MemTotal, info.KernelVersion)
	}
	if got := b.ask("GET", "/v1.48/info", "").Body.String(); strings.Contains(got, "FirewallBackend") {
		t.Error("1.48 has FirewallBackend")
	}
}

// TestInfoShowsTheSettingsInUse: those of the moment of asking.
func TestInfoShowsTheSettingsInUse(t *testing.T) {
	b := newBench(t)
	now := daemon.Settings{}
	b.with(func(o *Options) { o.Settings = func() daemon.Settings { return now } })
	read := func() (info system.Info) {
		if err := json.Unmarshal(b.ask("GET", "/info", "").Body.Bytes(), &info); err != nil {
			t.Fatal(err)
		}
		return info
	}
	if i := read(); i.Debug || i.LiveRestoreEnabled || len(i.Labels) != 0 || len(i.RegistryConfig.IndexConfigs) != 1 || len(i.RegistryConfig.InsecureRegistryCIDRs) != 2 {
		t.Errorf("%+v", i)
	}
	now = daemon.Settings{Debug: true, LiveRestore: true, Labels: []string{"a=b"}, InsecureRegistries: []string{"http://h.test:5000", "10.1.2.3/8"}, RegistryMirrors: []string{"https://m.test/"}}
	i := read()
	registries := i.RegistryConfig
	if !i.Debug || !i.LiveRestoreEnabled || strings.Join(i.Labels, " ") != "a=b" || registries.IndexConfigs["h.test:5000"] == nil || registries.IndexConfigs["h.test:5000"].Secure ||
		registries.InsecureRegistryCIDRs[2].String() != "10.0.0.0/8" || strings.Join(registries.Mirrors, " ") != "https://m.test/" {
		t.Errorf("%+v %+v", i, registries)
	}
}

// TestInfoNamesTheFirewalls: that which is written, and the one that it stands beside.
func TestInfoNamesTheFirewalls(t *testing.T) {
	b := newBench(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		settings daemon.Settings
		want     string
	}{
		{daemon.Settings{}, `{"Driver":"nftables"}`},
		{daemon.Settings{Firewalld: true}, `{"Driver":"nftables+firewalld"}`},
		{daemon.Settings{Firewalld: true, FirewallReloaded: at}, `{"Driver":"nftables+firewalld","Info":[["ReloadedAt","2026-01-02T03:04:05Z"]]}`},
	} {
		b.with(func(o *Options) { o.Settings = func() daemon.Settings { return c.settings } })
		if got := b.ask("GET", "/info", "").Body.String(); !strings.Contains(got, `"FirewallBackend":`+c.want) {
			t.Errorf("%+v: %s is not in %s", c.settings, c.want, got)
		}
	}
}

func TestVersionPage(t *testing.T) {
	b := newBench(t)
	b.with(func(o *Options) {
		o.Info.GitCommit, o.Info.BuildTime = "d825a20", "2026-01-02T03:04:05.000000000+00:00"
	})
	var v system.VersionResponse
	if err := json.Unmarshal(b.ask("GET", "/v1.24/version", "").Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	if v.Version != "29.7.2+linkspan.0.1.0" || v.Platform.Name != "Linkspan 0.1.0" || v.APIVersion != "1.56" || v.MinAPIVersion != "1.24" || v.Os != "linux" || len(v.Components) != 1 ||
		v.Components[0].Name != "Engine" || v.Components[0].Details["ApiVersion"] != "1.56" || v.GitCommit != "d825a20" || v.Components[0].Details["GitCommit"] != v.GitCommit ||
		v.BuildTime != "2026-01-02T03:04:05.000000000+00:00" || v.Components[0].Details["BuildTime"] != v.BuildTime {
		t.Errorf("%+v", v)
	}
}

func TestDiskUsage(t *testing.T) {
	b := newBench(t)
	one := b.images.images[0]
	one.Layers, one.LayerSizes = []string{"a", "b"}, []int64{3, 4}
	other := model.Image{ID: "sha256:2", Size: 5, Layers: []string{"a", "c"}, LayerSizes: []int64{3, 2}}
	b.images.images = []model.Image{one, other}
	b.containers = []container.Summary{{ID: "c1", State: "running", SizeRw: 3}, {ID: "c2", State: "exited", SizeRw: 4}}
	old := b.ask("GET", "/v1.51/system/df", "").Body.String()
	if !strings.Contains(old, `"LayersSize":9`) || !strings.Contains(old, `"Volumes":[]`) || strings.Contains(old, "ImageUsage") {
		t.Errorf("1.51: %s", old)
	}
	both := b.ask("GET", "/v1.52/system/df", "").Body.String()
	if !strings.Contains(both, `"LayersSize":9`) || !strings.Contains(both, `"ContainerUsage":{"ActiveCount":1,"Reclaimable":4,"TotalCount":2,"TotalSize":7}`) ||
		!strings.Contains(both, `"ImageUsage":{"Reclaimable":6,"TotalCount":2,"TotalSize":9}`) {
		t.Errorf("1.52: %s", both)
	}
	now := b.ask("GET", "/v1.53/system/df?type=image&verbose=1", "").Body.String()
	if strings.Contains(now, "LayersSize") || strings.Contains(now, "ContainerUsage") || !strings.Contains(now, `"Items":[{"Containers":0`) {
		t.Errorf("1.53: %s", now)
	}
	b.want(t, 400, "unknown object type: x", "GET", "/system/df?type=x")
}

// TestInfoShowsProxies: by way of whom registries are reached, and not with which password.
func TestInfoShowsProxies(t *testing.T) {
	b := newBench(t)
	b.with(func(o *Options) {
		o.Info.HTTPProxy, o.Info.HTTPSProxy, o.Info.NoProxy = "http://proxy.test:3128", "https://user:secret@proxy.test", "localhost"
	})
	var info system.Info
	if err := json.Unmarshal(b.ask("GET", "/info", "").Body.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	if info.HTTPProxy != "http://proxy.test:3128" || info.HTTPSProxy != "https://xxxxx:xxxxx@proxy.test" || info.NoProxy != "localhost" {
		t.Errorf("%q %q %q", info.HTTPProxy, info.HTTPSProxy, info.NoProxy)
	}
}

// TestInfoWarns: of what the machine cannot do, and of doors that are open.
func TestInfoWarns(t *testing.T) {
	b := newBench(t)
	warnings := func(m facts.Machine, hosts ...string) []string {
		b.with(func(o *Options) { o.Machine, o.Info.OpenHosts = func() facts.Machine { return m }, hosts })
		var info system.Info
		if err := json.Unmarshal(b.ask("GET", "/info", "").Body.Bytes(), &info); err != nil {
			t.Fatal(err)
		}
		return info.Warnings
	}
	all := facts.Machine{CgroupVersion: "2", MemoryControl: true, SwapControl: true, CPUControl: true, CPUSetControl: true, Forwarding4: true,
		BlockControl: facts.BlockControl{ReadBytes: true, WriteBytes: true, ReadTimes: true, WriteTimes: true}}
	if got := warnings(all); len(got) != 0 {
		t.Errorf("nothing is missing: %q", got)
	}
	got := strings.Join(warnings(facts.Machine{CgroupVersion: "1"}, "http://1.2.3.4:2375", "https://1.2.3.4:2376"), "\n")
	for _, want := range []string{"API is accessible on http://1.2.3.4:2375 without encryption.", "API is accessible on https://1.2.3.4:2376 without TLS client verification.", "WARNING: No swap limit support", "WARNING: No oom kill disable support",
		"WARNING: No blkio throttle.read_bps_device support", "WARNING: Support for cgroup v1 is deprecated", "WARNING: IPv4 forwarding is disabled"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
}
