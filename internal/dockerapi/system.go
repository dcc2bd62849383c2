package dockerapi

import (
	"cmp"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// Info is what the daemon says about itself.
type Info struct {
	Version   string // "0.1.0"
	GitCommit string
	BuildTime string
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
	// ContainerdAddress is the socket of the runtime in use.
	ContainerdAddress string
	Warnings          []string
}

// Settings are what the daemon says about itself that can change while it runs.
type Settings struct {
	Debug              bool
	Labels             []string
	LiveRestore        bool
	InsecureRegistries []string // hosts, with or without a port, and subnets
	RegistryMirrors    []string
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

func (s *server) systemRoutes() []route {
	return []route{
		{"GET /_ping", s.ping},
		{"GET /version", s.getVersion},
		{"GET /info", s.getInfo},
		{"GET /events", s.getEvents},
		{"GET /system/df", s.diskUsage},
		{"POST /auth", unsupported("logging in to registries is not supported yet")},
	}
}

// ping answers with what clients choose their version by.
func (s *server) ping(w http.ResponseWriter, r *request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Builder-Version", "1")
	h.Set("Swarm", string(swarm.LocalNodeStateInactive))
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		h.Set("Content-Length", "0")
		return empty(w, http.StatusOK)
	}
	_, err := w.Write([]byte("OK"))
	return err
}

func (s *server) getVersion(w http.ResponseWriter, _ *request) error {
	host := readHost(os.DirFS("/"))
	answer := system.VersionResponse{
		Platform: system.PlatformInfo{Name: "Linkspan"},
		Version:  s.Info.Version, APIVersion: newestVersion.String(), MinAPIVersion: s.oldest().String(),
		Os: runtime.GOOS, Arch: runtime.GOARCH, GitCommit: s.Info.GitCommit, GoVersion: runtime.Version(),
		KernelVersion: host.kernel, BuildTime: s.Info.BuildTime,
	}
	answer.Components = []system.ComponentVersion{{Name: "Engine", Version: s.Info.Version, Details: map[string]string{
		"ApiVersion": answer.APIVersion, "MinAPIVersion": answer.MinAPIVersion, "Os": answer.Os, "Arch": answer.Arch,
		"GitCommit": answer.GitCommit, "GoVersion": answer.GoVersion, "KernelVersion": answer.KernelVersion,
		"BuildTime": answer.BuildTime, "Experimental": "false",
	}}}
	for _, c := range s.Info.Components {
		answer.Components = append(answer.Components, system.ComponentVersion{
			Name: c.Name, Version: c.Version, Details: map[string]string{"GitCommit": c.GitCommit},
		})
	}
	return writeJSON(w, http.StatusOK, answer)
}

func (s *server) getInfo(w http.ResponseWriter, r *request) error {
	images, err := s.Images.List(r.Context(), query.Filters{})
	if err != nil {
		return err
	}
	host := readHost(os.DirFS("/"))
	info := s.hostInfo(host)
	info.ContainersRunning, info.ContainersPaused, info.ContainersStopped = s.Usage.Counts()
	info.Containers = info.ContainersRunning + info.ContainersPaused + info.ContainersStopped
	info.Images = len(images)
	s.describe(&info)
	if r.version < 46 {
		info.Containerd = nil
	}
	if r.version < 49 {
		info.FirewallBackend = nil
	}
	return writeJSON(w, http.StatusOK, info)
}

// hostInfo fills in what is the machine's.
func (s *server) hostInfo(host hostFacts) system.Info {
	info := system.Info{
		MemoryLimit: host.memoryControl, SwapLimit: host.swapControl, PidsLimit: host.processControl,
		CPUCfsPeriod: host.cpuControl, CPUCfsQuota: host.cpuControl, CPUShares: host.cpuControl, CPUSet: host.cpusetControl,
		IPv4Forwarding: host.forwarding4, OomKillDisable: host.cgroupVersion == "1" && host.memoryControl,
		NGoroutines: runtime.NumGoroutine(), SystemTime: time.Now().Format(time.RFC3339Nano),
		CgroupDriver: "cgroupfs", CgroupVersion: host.cgroupVersion,
		KernelVersion: host.kernel, OperatingSystem: host.system, OSVersion: host.systemVersion,
		OSType: runtime.GOOS, Architecture: machine(), NCPU: runtime.NumCPU(), MemTotal: host.memory, Name: host.name,
		SecurityOptions: []string{},
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		info.NFd = len(fds)
	}
	if host.apparmor {
		info.SecurityOptions = append(info.SecurityOptions, "name=apparmor")
	}
	if host.seccomp {
		info.SecurityOptions = append(info.SecurityOptions, "name=seccomp,profile=builtin")
	}
	if host.cgroupVersion == "2" {
		info.SecurityOptions = append(info.SecurityOptions, "name=cgroupns")
	}
	return info
}

// describe fills in what is the daemon's.
func (s *server) describe(info *system.Info) {
	own, settings := s.Info, Settings{}
	if s.Settings != nil {
		settings = s.Settings()
	}
	info.ID, info.Debug, info.ServerVersion, info.DockerRootDir = own.ID, settings.Debug, own.Version, own.DataRoot
	info.Driver, info.DriverStatus = own.StorageDriver, [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}
	info.LoggingDriver, info.LiveRestoreEnabled, info.Warnings = own.LogDriver, settings.LiveRestore, own.Warnings
	info.Labels = append([]string{}, settings.Labels...)
	info.Plugins = system.PluginsInfo{
		Volume: []string{"local"}, Network: s.Networks.Drivers(), Log: []string{"json-file", "none"},
	}
	info.DefaultRuntime, info.InitBinary = "runc", cmp.Or(own.InitPath, "docker-init")
	info.Runtimes = map[string]system.RuntimeWithStatus{"runc": {Runtime: system.Runtime{Path: "runc"}}}
	for _, c := range own.Components {
		switch c.Name {
		case "containerd":
			info.ContainerdCommit.ID = c.GitCommit
		case "runc":
			info.RuncCommit.ID = c.GitCommit
		}
	}
	if own.ContainerdAddress != "" {
		info.Containerd = &system.ContainerdInfo{Address: own.ContainerdAddress,
			Namespaces: system.ContainerdNamespaces{Containers: "linkspan", Plugins: "linkspan"}}
	}
	info.Swarm = swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive, RemoteManagers: []swarm.Peer{}}
	info.FirewallBackend = &system.FirewallInfo{Driver: own.FirewallBackend}
	for _, p := range own.Pools {
		info.DefaultAddressPools = append(info.DefaultAddressPools, system.NetworkAddressPool{Base: p.Base, Size: p.Size})
	}
	info.IndexServerAddress = indexServer
	info.RegistryConfig = registries(settings)
	info.CDISpecDirs = []string{}
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

// unsupported returns the handler of what Docker has and this engine has not.
func unsupported(words string) handler {
	return func(http.ResponseWriter, *request) error { return model.Errorf(model.NotImplemented, "%s", words) }
}
