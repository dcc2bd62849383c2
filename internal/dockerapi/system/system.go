// Package system has the handlers of the daemon itself: ping, version, info, events and
// disk usage.
//
// It translates and decides nothing.
package system

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/dockerapi/images"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/logoptions"
	"github.com/linkspan/linkspan/internal/ociruntimes"
	"github.com/linkspan/linkspan/internal/query"
	volumehub "github.com/linkspan/linkspan/internal/volumes"
)

// Options are what the handlers show. All but Settings and Machine are needed.
type Options struct {
	Info Info
	// Settings, if set, is what Info leaves out, because it can change.
	Settings func() Settings
	// Machine, if set, looks at the host.
	Machine    func() facts.Machine
	Containers Containers
	Images     images.Lister
	Volumes    Volumes
	// Drivers returns the kinds of networks there are.
	Drivers func() []string
	Events  Events
	Swarm   Swarm
	// BuildCache says what of builds is kept.
	BuildCache BuildCache
}

// BuildCache is what builds keep.
type BuildCache interface {
	Usage(ctx context.Context) ([]wire.Record, error)
}

// Swarm is what this host is to a swarm.
type Swarm interface {
	// Status is that in a word or two: "inactive", "active/manager".
	Status() string
	Info(ctx context.Context) swarm.Info
}

type api struct{ Options }

// Containers lists and counts.
type Containers interface {
	Counts() (running, paused, stopped int)
	List(ctx context.Context, o containerhub.ListOptions) ([]container.Summary, error)
}

// Volumes measures volumes.
type Volumes interface {
	Usage(ctx context.Context) ([]volumehub.Usage, error)
}

// Events is what happened and what happens.
type Events interface {
	// Subscribe returns the past events since since (none if it is zero) and a
	// channel of those to come, closed at until or with ctx.
	Subscribe(ctx context.Context, since, until time.Time, match func(events.Message) bool) (past []events.Message, live <-chan events.Message)
}

// Info is what the daemon says about itself.
type Info struct {
	Version   string // "0.1.0"
	GitCommit string // "d825a20"
	BuildTime string // RFC 3339
	// ID tells daemons apart; it outlives restarts.
	ID              string
	DataRoot        string
	StorageDriver   string // "overlayfs"
	FirewallBackend string // "nftables"
	LogDriver       string
	InitPath        string // of the init of --init; empty: docker-init in $PATH, or what goes for it
	// OldestAPI is the NN of the oldest version 1.NN that is served, if it is not
	// the oldest there is.
	OldestAPI  int
	Pools      []AddressPool
	Components []Component // "containerd", "runc": besides the daemon itself
	// OpenHosts are the addresses at which clients of the API are not verified: http:// or https://.
	OpenHosts []string
	// HTTPProxy, HTTPSProxy and NoProxy say by way of whom registries are reached.
	HTTPProxy, HTTPSProxy, NoProxy string
	// ContainerdAddress is the socket of the runtime in use.
	ContainerdAddress string
	Warnings          []string
}

// Oldest returns the oldest version that this daemon serves.
func (i Info) Oldest() httpkit.Version {
	return min(max(httpkit.OldestVersion, httpkit.Version(i.OldestAPI)), httpkit.NewestVersion)
}

// docker is the release of dockerd whose API and behaviour this daemon has.
const docker = "29.7.2"

// Release returns the version that clients compare with others: that of the dockerd which
// this daemon stands for and, as what Semantic Versioning calls build metadata, our own,
// "29.7.2+linkspan.0.1.0".
func (i Info) Release() string {
	own := strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' || c == '-' {
			return c
		}
		return '-'
	}, i.Version)
	return docker + "+linkspan." + strings.Trim(own, ".")
}

// Settings are what the daemon says about itself that can change while it runs.
type Settings struct {
	Debug              bool
	Labels             []string
	LiveRestore        bool
	InsecureRegistries []string // hosts, with or without a port, and subnets
	RegistryMirrors    []string
	Runtimes           ociruntimes.Set
	// CgroupnsMode is that of containers which do not say; empty: as the machine's cgroups have it.
	CgroupnsMode string
	// Firewalld says that firewalld runs on this host; FirewallReloaded is when it was
	// last seen to reload, zero if never.
	Firewalld        bool
	FirewallReloaded time.Time
}

// AddressPool is where subnets are cut from, each with Size bits.
type AddressPool struct {
	Base netip.Prefix
	Size int
}

// Component is a program that the daemon is made of.
type Component struct {
	Name, Version, GitCommit string
}

// indexServer is what clients file their credentials for Docker Hub under.
const indexServer = "https://index.docker.io/v1/"

// Routes returns the handlers of the daemon itself.
func Routes(o Options) httpkit.Routes {
	a := &api{o}
	return httpkit.Routes{
		"GET /_ping":     a.ping,
		"GET /version":   a.getVersion,
		"GET /info":      a.getInfo,
		"GET /events":    a.getEvents,
		"GET /system/df": a.diskUsage,
	}
}

// ping answers with what clients choose their version by.
func (a *api) ping(w http.ResponseWriter, r *httpkit.Request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Builder-Version", "2") // BuildKit
	h.Set("Swarm", a.Swarm.Status())
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		return httpkit.Empty(w, http.StatusOK)
	}
	_, err := w.Write([]byte("OK"))
	return err
}

func (a *api) getVersion(w http.ResponseWriter, _ *httpkit.Request) error {
	host := a.machine()
	answer := system.VersionResponse{
		Platform: system.PlatformInfo{Name: "Linkspan " + a.Info.Version},
		Version:  a.Info.Release(), APIVersion: httpkit.NewestVersion.String(), MinAPIVersion: a.Info.Oldest().String(),
		Os: runtime.GOOS, Arch: runtime.GOARCH, GitCommit: a.Info.GitCommit, GoVersion: runtime.Version(),
		KernelVersion: host.Kernel, BuildTime: a.Info.BuildTime,
	}
	answer.Components = []system.ComponentVersion{{Name: "Engine", Version: answer.Version, Details: map[string]string{
		"ApiVersion": answer.APIVersion, "MinAPIVersion": answer.MinAPIVersion, "Os": answer.Os, "Arch": answer.Arch,
		"GitCommit": answer.GitCommit, "GoVersion": answer.GoVersion, "KernelVersion": answer.KernelVersion,
		"BuildTime": answer.BuildTime, "Experimental": "false",
	}}}
	for _, c := range a.Info.Components {
		answer.Components = append(answer.Components, system.ComponentVersion{
			Name: c.Name, Version: c.Version, Details: map[string]string{"GitCommit": c.GitCommit},
		})
	}
	return httpkit.WriteJSON(w, http.StatusOK, answer)
}

func (a *api) getInfo(w http.ResponseWriter, r *httpkit.Request) error {
	images, err := a.Images.List(r.Context(), query.Filters{})
	if err != nil {
		return err
	}
	host, settings := a.machine(), a.settings()
	info := a.hostInfo(host, settings.CgroupnsMode)
	info.ContainersRunning, info.ContainersPaused, info.ContainersStopped = a.Containers.Counts()
	info.Containers = info.ContainersRunning + info.ContainersPaused + info.ContainersStopped
	info.Images = len(images)
	info.Warnings = append(openHosts(a.Info.OpenHosts), missing(host, info)...)
	a.describe(&info, settings)
	info.Swarm = a.Swarm.Info(r.Context())
	if r.Version < 46 {
		info.Containerd = nil
	}
	if r.Version < 49 {
		info.FirewallBackend = nil
	}
	return httpkit.WriteJSON(w, http.StatusOK, info)
}

// settings are those of this moment.
func (a *api) settings() Settings {
	if a.Settings == nil {
		return Settings{}
	}
	return a.Settings()
}

// hostInfo fills in what is the machine's. mode is that of containers' cgroups which do not say.
func (a *api) hostInfo(host facts.Machine, mode string) system.Info {
	info := system.Info{
		MemoryLimit: host.MemoryControl, SwapLimit: host.SwapControl, PidsLimit: host.ProcessControl,
		CPUCfsPeriod: host.CPUControl, CPUCfsQuota: host.CPUControl, CPUShares: host.CPUControl, CPUSet: host.CPUSetControl,
		IPv4Forwarding: host.Forwarding4, OomKillDisable: host.OOMControl,
		NGoroutines: runtime.NumGoroutine(), NFd: host.Descriptors, SystemTime: time.Now().Format(time.RFC3339Nano),
		CgroupDriver: "cgroupfs", CgroupVersion: host.CgroupVersion,
		KernelVersion: host.Kernel, OperatingSystem: host.System, OSVersion: host.SystemVersion,
		OSType: runtime.GOOS, Architecture: Architecture(), NCPU: runtime.NumCPU(), MemTotal: host.Memory, Name: host.Name,
		SecurityOptions: []string{},
	}
	if host.AppArmor {
		info.SecurityOptions = append(info.SecurityOptions, "name=apparmor")
	}
	if host.Seccomp {
		info.SecurityOptions = append(info.SecurityOptions, "name=seccomp,profile=builtin")
	}
	if private := mode == "private" || mode == "" && host.CgroupVersion == "2"; private && host.Cgroupns {
		info.SecurityOptions = append(info.SecurityOptions, "name=cgroupns")
	}
	return info
}

// firewallInfo says which firewall is written, and beside which.
func firewallInfo(own Info, now Settings) *system.FirewallInfo {
	f := &system.FirewallInfo{Driver: own.FirewallBackend}
	if now.Firewalld {
		f.Driver += "+firewalld"
	}
	if !now.FirewallReloaded.IsZero() {
		f.Info = [][2]string{{"ReloadedAt", now.FirewallReloaded.Format(time.RFC3339)}}
	}
	return f
}

// describe fills in what is the daemon's.
func (a *api) describe(info *system.Info, settings Settings) {
	own := a.Info
	info.ID, info.Debug, info.ServerVersion, info.DockerRootDir = own.ID, settings.Debug, own.Release(), own.DataRoot
	info.Driver, info.DriverStatus = own.StorageDriver, [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}
	info.LoggingDriver, info.LiveRestoreEnabled, info.Warnings = own.LogDriver, settings.LiveRestore, append(info.Warnings, own.Warnings...)
	info.Labels = append([]string{}, settings.Labels...)
	info.Plugins = system.PluginsInfo{
		Volume: []string{"local"}, Network: a.Drivers(), Log: logoptions.Drivers(),
	}
	info.DefaultRuntime, info.InitBinary = settings.Runtimes.Name(), cmp.Or(own.InitPath, "docker-init")
	info.Runtimes = runtimes(settings.Runtimes)
	info.RuncCommit.ID, info.ContainerdCommit.ID, info.InitCommit.ID = "N/A", "N/A", "N/A"
	for _, c := range own.Components {
		switch c.Name {
		case "containerd":
			info.ContainerdCommit.ID = c.GitCommit
		case "runc":
			info.RuncCommit.ID = c.GitCommit
		case "docker-init":
			info.InitCommit.ID = c.GitCommit
		}
	}
	if own.ContainerdAddress != "" {
		info.Containerd = &system.ContainerdInfo{Address: own.ContainerdAddress,
			Namespaces: system.ContainerdNamespaces{Containers: "linkspan", Plugins: "linkspan"}}
	}
	info.FirewallBackend = firewallInfo(own, settings)
	for _, p := range own.Pools {
		info.DefaultAddressPools = append(info.DefaultAddressPools, system.NetworkAddressPool{Base: p.Base, Size: p.Size})
	}
	info.IndexServerAddress = indexServer
	info.RegistryConfig = registries(settings)
	info.CDISpecDirs = []string{}
	info.HTTPProxy, info.HTTPSProxy, info.NoProxy = masked(own.HTTPProxy), masked(own.HTTPSProxy), own.NoProxy
	if info.Warnings == nil {
		info.Warnings = []string{}
	}
}

// registries shows the settings of registries: those of this machine need no
// certificate in any case.
func registries(s Settings) *registry.ServiceConfig {
	mirrors := append([]string{}, s.RegistryMirrors...)
	out := &registry.ServiceConfig{
		InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.0/8")},
		IndexConfigs:          map[string]*registry.IndexInfo{"docker.io": {Name: "docker.io", Mirrors: mirrors, Secure: true, Official: true}},
		Mirrors:               mirrors,
	}
	for _, name := range s.InsecureRegistries {
		if _, host, ok := strings.Cut(name, "://"); ok {
			name = host
		}
		if p, err := netip.ParsePrefix(name); err == nil {
			out.InsecureRegistryCIDRs = append(out.InsecureRegistryCIDRs, p.Masked())
			continue
		}
		out.IndexConfigs[name] = &registry.IndexInfo{Name: name, Mirrors: []string{}}
	}
	return out
}

// masked returns a proxy's URL without the name and password in it, as Docker shows it.
func masked(proxy string) string {
	u, err := url.Parse(proxy)
	if err != nil || u.User == nil {
		return proxy
	}
	u.User = url.UserPassword("xxxxx", "xxxxx")
	return u.String()
}

// machine is what is known of the host.
func (a *api) machine() facts.Machine {
	if a.Machine == nil {
		return facts.Machine{}
	}
	return a.Machine()
}

// Architecture is the processor's name as uname(1) gives it, which /info uses.
func Architecture() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return runtime.GOARCH
}
