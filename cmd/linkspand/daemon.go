package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/containers/netfiles"
	"github.com/linkspan/linkspan/internal/dockerapi"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/engine"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/firewalld"
	"github.com/linkspan/linkspan/internal/guests"
	"github.com/linkspan/linkspan/internal/images"
	"github.com/linkspan/linkspan/internal/ingress"
	"github.com/linkspan/linkspan/internal/keeper"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/nft"
	"github.com/linkspan/linkspan/internal/kernel/shape"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
	"github.com/linkspan/linkspan/internal/localvolume"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/networks"
	"github.com/linkspan/linkspan/internal/plugins"
	"github.com/linkspan/linkspan/internal/plugins/source"
	"github.com/linkspan/linkspan/internal/recentlog"
	"github.com/linkspan/linkspan/internal/remotes"
	"github.com/linkspan/linkspan/internal/runtime"
	"github.com/linkspan/linkspan/internal/runtime/registry"
	"github.com/linkspan/linkspan/internal/store/bolt"
	"github.com/linkspan/linkspan/internal/swarm"
	"github.com/linkspan/linkspan/internal/tasks"
	"github.com/linkspan/linkspan/internal/tracing"
	"github.com/linkspan/linkspan/internal/volumes"
)

const (
	// closingTime bounds what the daemon still does when it is told to end.
	closingTime = 15 * time.Second
	// stoppingTime is the least that is added where containers end with the daemon:
	// each has a patience of its own.
	stoppingTime = 5 * time.Minute
)

// daemon is the parts, put together.
type daemon struct {
	config config.Config // as it was started
	// settings are the part of config that can change since.
	settings atomic.Pointer[config.Settings]
	told     *told
	log      *slog.Logger
	recent   *recentlog.Lines // the last that log was told
	traces   tracing.Hooks    // nil unless there are any
	store    *bolt.Store
	keeper   *keeper.Keeper
	kernel   *kernel.Kernel
	engine   *engine.Engine
	plugins  *plugins.Registry
	source   *source.Source
	running  atomic.Pointer[engine.Engine] // engine, for those who look before it is open
	runtime  *runtime.Runtime
	events   events.Bus
	networks *networks.Manager
	guests   *guests.Manager
	// zones is nil where no rules are wanted.
	zones *firewalld.Firewalld
	// registries is the way to registries of images.
	registries *registry.Registries
	images     *images.Manager
	volumes    *volumes.Manager
	manager    *containers.Manager
	swarm      *swarm.Manager
	remotes    atomic.Pointer[remotes.Manager] // set once the engine is open, and so is
	ingress    atomic.Pointer[ingress.Manager]
	tasks      *tasks.Manager
	// otherFirewall removes what the firewall backend that is not used has left.
	otherFirewall func(context.Context) error
	// variant is the iptables that the firewall backend of that name uses; empty with another.
	variant xtables.Variant
	repairs repairs
	// notifier is for the service manager that started the daemon.
	notifier notifier
	watchdog watchdog
	// certificates are those of the API on TCP; nil: none.
	certificates *dockerapi.Certificates
	// mortal says that containers end with the daemon. It is decided when that ends.
	mortal bool
	// closers end the parts, the last first. Containers, and what is in the
	// kernel, stay.
	closers []func(context.Context) error
}

// start brings everything up, from the store to the containers' output. On
// failure it leaves nothing open.
func start(ctx context.Context, c config.Config, heard *told, log *slog.Logger) (*daemon, error) {
	d := &daemon{config: c, told: heard, log: log, repairs: newRepairs()}
	d.settings.Store(&c.Settings)
	var err error
	if d.certificates, err = loadCertificates(c.TLS, log); err != nil {
		return nil, err
	}
	if err := openTraces(ctx, d); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{d.openNotifier, d.ensureSingleInstance, d.openStore, d.openKeeper, d.openEngine, d.openRuntime, d.openVolumes, d.openManager, d.openSwarm, d.openRemotes} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, d.close(ctx))
		}
	}
	return d, nil
}

// later remembers how to end a part that was started.
func (d *daemon) later(f func(context.Context) error) { d.closers = append(d.closers, f) }

// whileOpen runs a function until the daemon ends.
func whileOpen(d *daemon, run func(context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	d.later(func(context.Context) error {
		stop()
		<-done
		return nil
	})
}

// close ends the parts, and the containers too if they do not outlive this daemon
// or the machine.
func (d *daemon) close(ctx context.Context) error {
	settings := d.settings.Load()
	d.mortal = !settings.LiveRestore || d.told.machineEnds.Load() || d.told.teardown.Load()
	limit := closingTime
	if d.mortal {
		limit += max(stoppingTime, time.Duration(settings.ShutdownTimeout)*time.Second)
	}
	d.tell(newsStopping(limit))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	go d.watchdog.run(ctx, d.notifier, stillEnding, d.log) // limit bounds that
	var failed []error
	for _, f := range slices.Backward(d.closers) {
		failed = append(failed, f(ctx))
	}
	return errors.Join(failed...)
}

// ensureSingleInstance makes this daemon the only one in its network namespace and folders.
func (d *daemon) ensureSingleInstance(context.Context) error {
	lock, err := beAlone(d.log)
	if err != nil {
		return err
	}
	d.later(func(context.Context) error { return lock.Close() })
	if err := makeRoots(d.config); err != nil {
		return err
	}
	folder, err := lockFolder(d.config.ExecRoot)
	if err != nil {
		return err
	}
	d.later(func(context.Context) error { return folder.Close() })
	remove, err := writePidfile(d.config.Pidfile)
	if err != nil {
		return err
	}
	d.later(func(context.Context) error { remove(); return nil })
	return nil
}

func (d *daemon) openStore(context.Context) (err error) {
	d.store, err = bolt.Open(filepath.Join(d.config.DataRoot, "state.db"))
	if err == nil {
		d.later(func(context.Context) error { return d.store.Close() })
	}
	return err
}

// instanceLen is how much of the store's ID marks kernel objects: an alias has
// room for it beside the owner.
const instanceLen = 12

// openEngine makes the kernel follow the store, and sets up the networks that
// are always there.
func (d *daemon) openEngine(ctx context.Context) error {
	instance := d.store.Instance()[:instanceLen]
	firewall, err := d.openFirewall(ctx, instance)
	if err != nil {
		return err
	}
	reached := failpoint()
	k, err := kernel.New(kernel.Options{Instance: instance, Logger: d.log, Firewall: firewall, Balancer: nft.Balancer{Instance: instance, Logger: d.log}, GiveBack: nft.DropDNSRedirect, Reached: reached})
	if err != nil {
		return fmt.Errorf("open the kernel: %w", err)
	}
	d.kernel = k
	d.later(func(context.Context) error { return k.Close() })
	d.later(takeAway(d))
	networkMaker, err := maker(d.config)
	if err != nil {
		return err
	}
	if err := d.openPlugins(networkMaker.Drivers); err != nil {
		return err
	}
	standard := bridgeSettings(d.config)
	found, err := findDevice(standard) // before it is made again
	if err != nil {
		return err
	}
	shaper := shape.New(k.Netns())
	d.engine, err = engine.Open(ctx, engine.Options{
		Store: d.store, Hands: append([]engine.Hand{k, d.keeper, shaper}, d.openZones()...), PortReserver: d.keeper, Networks: networkMaker, Logger: d.log,
		Observer: observer{k, uniqueLocal(d.store.Instance()), ownPorts(d.config)}, Reached: reached,
		Firewall: firewallSettings(d.config), Source: sources{servers: d.leaseSource(), plugins: d.source, hosts: knownRemotes(d.config, d.log)},
		Watcher: repairers{k, shaper}, Repaired: d.repaired, Published: d.wakeRemotes, Step: d.traces.Step,
	})
	if err != nil {
		return err
	}
	d.dropOtherFirewall(ctx)
	d.running.Store(d.engine)
	d.later(func(context.Context) error { d.engine.Close(); return nil })
	d.newRemotes()
	d.newSwarm()
	d.networks = networks.New(networks.Options{Engine: d.engine, Events: &d.events, Maker: networkMaker, Swarm: d.swarm, Logger: d.log})
	if err := d.networks.Predefine(ctx, standard, found, len(d.config.Pools) > 0); err != nil {
		return err
	}
	d.openGuests(ctx)
	return nil
}

// openGuests looks after namespaces that are not containers', those that are gone since
// at once.
func (d *daemon) openGuests(ctx context.Context) {
	d.guests = guests.New(guests.Options{Engine: d.engine, Namespaces: d.kernel.Guests(), Events: &d.events, Drivers: drivers(d.config), Logger: d.log})
	d.guests.Sweep(ctx)
	whileOpen(d, d.guests.Run)
}

// ipamDrivers are the ways to give out addresses that are no plugins'.
var ipamDrivers = []string{"", "default", "null", model.IPAMDHCP}

// openPlugins makes other people's drivers known.
func (d *daemon) openPlugins(builtin driver.Set) (err error) {
	d.plugins = plugins.New(plugins.Options{Places: plugins.Docker(), Logger: d.log, Changed: pluginWork{d}.changed})
	d.source, err = source.Open(source.Options{
		Plugins: d.plugins, Folder: filepath.Join(d.config.DataRoot, "plugins"), Drivers: builtin.Names(), IPAM: ipamDrivers, Logger: d.log,
	})
	if err != nil {
		return err
	}
	d.later(func(context.Context) error { d.source.Close(); return nil })
	whileOpen(d, d.plugins.Watch)
	return nil
}

// observer adds to the kernel's facts what follows from the engine's identity.
type observer struct {
	kernel      *kernel.Kernel
	uniqueLocal netip.Prefix
	own         []netip.AddrPort
}

// Observe implements engine.Observer.
func (o observer) Observe(ctx context.Context) (facts.Host, error) {
	f, err := o.kernel.Observe(ctx)
	f.UniqueLocal, f.Own = o.uniqueLocal, o.own
	return f, err
}

// uniqueLocal returns the /48 of an engine: fd00::/8 and forty bits drawn from
// its ID (RFC 4193 section 3.2).
func uniqueLocal(id string) netip.Prefix {
	sum := sha256.Sum256([]byte(id))
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:6], sum[len(sum)-5:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 48)
}

func (d *daemon) openRuntime(ctx context.Context) (err error) {
	if err := writeWrappers(d.config.Settings.Runtimes); err != nil {
		return err
	}
	d.registries = registry.New(registry.Options{Settings: d.registrySettings, Proxy: proxies(d.config),
		UserAgent: "linkspan/" + version + " os/linux arch/" + goruntime.GOARCH, Logger: d.log})
	d.runtime, err = runtime.Open(ctx, runtime.Options{
		Registries: d.registries,
		Instance:   d.store.Instance()[:instanceLen],
		Address:    d.config.Containerd, DataRoot: d.config.DataRoot, ExecRoot: d.config.ExecRoot, Logger: d.log,
		InitPath: d.config.InitPath, Call: d.traces.Call,
	})
	if err != nil {
		return fmt.Errorf("open the container runtime: %w", err)
	}
	d.later(func(context.Context) error { return d.runtime.Close() })
	return nil
}

// openVolumes finds the volumes that there are.
func (d *daemon) openVolumes(context.Context) error {
	store, err := localvolume.Open(d.config.DataRoot, d.config.ExecRoot, d.log)
	if err == nil {
		d.volumes, err = volumes.New(volumes.Options{Store: store, Mounter: store, Images: d.runtime.Mounted, Origin: store, Events: &d.events, Logger: d.log})
	}
	if err != nil {
		return fmt.Errorf("open the volumes: %w", err)
	}
	return nil
}

// openManager loads the containers and takes up those that run.
func (d *daemon) openManager(ctx context.Context) (err error) {
	c, r := d.config, d.runtime
	d.manager, err = containers.New(containers.Options{
		Engine: d.engine, Containers: r.Containers, Tasks: r.Tasks, Control: r.Tasks, Execs: r.Execs, Confinement: r.Containers, Sizes: r.Containers,
		Images: r.Images, Files: r.Files, Layers: r.Files, Commits: r.Images, Volumes: d.volumes, Meter: r.Usage,
		Outputs: outputs{d.keeper.Outputs()}, Logs: logs{},
		Events: &d.events, Drivers: drivers(c), Drops: d.kernel, Swarm: d.swarm, Root: c.DataRoot, ExecRoot: c.ExecRoot, StorageDriver: r.Snapshotter(),
		Defaults: containers.Defaults{
			Defaults: netfiles.Defaults{
				DNS: c.DNS, DNSSearch: c.DNSSearch, DNSOptions: c.DNSOptions, HostGateway: c.HostGatewayIPs,
				LinkEnvironment: os.Getenv("DOCKER_KEEP_DEPRECATED_LEGACY_LINKS_ENV_VARS") == "1",
			},
			LogDriver: c.LogDriver, LogOptions: c.LogOptions, Init: c.Init,
			Changing: func() containers.Changing {
				s := d.settings.Load()
				return containers.Changing{ShmSize: s.ShmSize, CgroupnsMode: s.CgroupnsMode, Runtimes: s.Runtimes}
			},
		},
		Logger: d.log,
	})
	if err != nil {
		return err
	}
	d.images = images.New(images.Options{Store: r.Images, Variants: r.Images, Mover: r.Images, Registries: d.registries, Containers: d.manager, Events: &d.events, Logger: d.log})
	d.later(d.closeManager)
	if err := d.manager.Restore(ctx); err != nil {
		return fmt.Errorf("take up the containers: %w", err)
	}
	d.followLeases()
	return nil
}

// registrySettings are the settings of now that concern registries.
func (d *daemon) registrySettings() registry.Settings {
	s := d.settings.Load()
	return registry.Settings{Insecure: s.InsecureRegistries, Mirrors: s.RegistryMirrors, Downloads: s.MaxDownloads, Uploads: s.MaxUploads, Attempts: s.DownloadAttempts}
}

// proxies are those of the configuration and, where it says nothing, of the environment.
func proxies(c config.Config) httpproxy.Config {
	p := *httpproxy.FromEnvironment()
	p.HTTPProxy, p.HTTPSProxy, p.NoProxy = cmp.Or(c.HTTPProxy, p.HTTPProxy), cmp.Or(c.HTTPSProxy, p.HTTPSProxy), cmp.Or(c.NoProxy, p.NoProxy)
	return p
}

func (d *daemon) closeManager(ctx context.Context) error {
	if !d.mortal {
		d.log.Info("ending; containers go on", "op", "daemon.stop")
		return d.manager.Close(ctx)
	}
	d.log.Info("ending, and the containers with it", "op", "daemon.stop")
	return errors.Join(d.manager.StopAll(ctx), d.manager.Close(ctx))
}
