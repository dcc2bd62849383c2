package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/net/bpf"

	"github.com/linkspan/linkspan/internal/dockerapi"
	"github.com/linkspan/linkspan/internal/dockerapi/private"
	"github.com/linkspan/linkspan/internal/dockerapi/system"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/hostports"
	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/kernel/capture"
	"github.com/linkspan/linkspan/internal/kernel/explain"
	"github.com/linkspan/linkspan/internal/kernel/machine"
	"github.com/linkspan/linkspan/internal/kernel/meter"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// serve answers requests, and signals, until ctx ends, then closes everything.
func (d *daemon) serve(ctx context.Context, r reloader) error {
	answering, done := context.WithCancel(ctx)
	var signals sync.WaitGroup
	signals.Go(func() { r.run(answering) })
	err := d.answer(ctx)
	done()
	signals.Wait()
	return errors.Join(err, d.close(ctx))
}

func (d *daemon) answer(ctx context.Context) error {
	metrics := prometheus.NewRegistry()
	observe := d.register(metrics)
	hubs := dockerapi.Hubs{Containers: d.manager, Images: d.images, Networks: d.networks, Volumes: d.volumes, Swarm: d.swarm}
	backends := dockerapi.BackendsOf(hubs, &d.events, d.registries)
	backends.Plugins, backends.Services = d.plugins, dockerapi.ServicesOf(swarmWork{d}.serviceOptions())
	backends.Builder = builds{d}.open()
	api := dockerapi.New(dockerapi.Options{
		Backends: backends, Info: d.info(ctx), Settings: d.shown,
		Machine: func() facts.Machine { return machine.Read(os.DirFS("/")) }, Logger: d.log, Observe: observe, Trace: d.traces.Request,
	})
	private := private.Handler(private.Options{
		Engine: d.engine, Drivers: drivers(d.config), Containers: d.manager, Traffic: d.kernel, Listeners: hostports.Listeners,
		Explainer: explain.New(explain.Options{IPTables: d.savedRules}), Links: meter.New(d.kernel.Netns()), Hear: hear(capture.New(d.kernel.Netns())), Shaper: d.networks, Volumes: d.volumes, Guests: d.guests, Metrics: metrics, Logger: d.log,
		Recent: private.Recent{Settings: d.config, Lines: d.recent.Last, Events: func() []events.Message {
			past, _ := d.events.Subscribe(ctx, time.Unix(1, 0), time.Now(), func(events.Message) bool { return true })
			return past
		}},
		Teardown: d.told.leaveNothing,
		Daemon: privateapi.Daemon{
			Version: version, Pid: os.Getpid(), DataRoot: d.config.DataRoot, ExecRoot: d.config.ExecRoot,
			Instance: d.store.Instance()[:instanceLen], FirewallBackend: d.config.Backend,
		},
	})
	ready := func() {
		d.log.Info("ready", "op", "daemon.start", "hosts", d.config.Hosts, "version", version)
		d.tell(newsReady)
		go d.watchdog.run(ctx, d.notifier, alive(d.engine), d.log)
	}
	return serveDoors(ctx, doors(d.config, d.certificates, api, private, metrics), d.log, ready)
}

// hear is a capturer as the private socket sees it.
func hear(c *capture.Capturer) private.Hear {
	return func(ctx context.Context, taps []facts.Tap, program func([]facts.Place) ([]bpf.Instruction, error), snapLen int) (private.Hearing, error) {
		source, err := c.Open(ctx, taps, program, snapLen)
		if err != nil {
			return nil, err
		}
		return source, nil
	}
}

// register adds the daemon's metrics and returns what measures requests.
func (d *daemon) register(r *prometheus.Registry) func(route string, status int, took time.Duration) {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "linkspan_api_request_seconds", Help: "Time that requests to the API took.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"route", "status"})
	r.MustRegister(requests, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newQueries(d), d.repairs.total, d.repairs.seconds,
		private.TrafficMetrics(inspect.New(inspect.Options{Engine: d.engine, Drivers: drivers(d.config), Traffic: d.kernel}), d.log))
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("linkspan_networks", "Networks there are.", func() float64 { return count(d.engine.Snapshot().Networks()) })
	gauge("linkspan_endpoints", "Memberships of containers in networks, those of stopped ones included.",
		func() float64 { return count(d.engine.Snapshot().Endpoints()) })
	gauge("linkspan_model_revision", "Revision of the model: how many changes there were.",
		func() float64 { return float64(d.engine.Snapshot().Revision) })
	gauge("linkspan_containers_running", "Containers that run.", func() float64 {
		running, _, _ := d.manager.Counts()
		return float64(running)
	})
	return func(route string, status int, took time.Duration) {
		requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
	}
}

func count[T any](seq func(yield func(T) bool)) float64 {
	n := 0
	seq(func(T) bool { n++; return true })
	return float64(n)
}

// shown is what the daemon says of its settings.
func (d *daemon) shown() system.Settings {
	s := d.settings.Load()
	running, reloaded := d.firewalldState()
	return system.Settings{
		Firewalld: running, FirewallReloaded: reloaded,
		Debug: levelOf(d.config, *s) <= slog.LevelDebug, Labels: s.Labels, LiveRestore: s.LiveRestore,
		InsecureRegistries: s.InsecureRegistries, RegistryMirrors: s.RegistryMirrors, Runtimes: s.Runtimes, CgroupnsMode: s.CgroupnsMode,
	}
}

// info is what the daemon says about itself.
func (d *daemon) info(ctx context.Context) system.Info {
	i := system.Info{
		Version: version, GitCommit: commit, BuildTime: built, ID: d.store.Instance(), DataRoot: d.config.DataRoot, StorageDriver: d.runtime.Snapshotter(),
		FirewallBackend: d.config.Backend,
		LogDriver:       d.config.LogDriver, InitPath: d.config.InitPath, OldestAPI: d.config.OldestAPI,
		ContainerdAddress: d.config.Containerd, OpenHosts: openHosts(d.config),
	}
	p := proxies(d.config)
	i.HTTPProxy, i.HTTPSProxy, i.NoProxy = p.HTTPProxy, p.HTTPSProxy, p.NoProxy
	for _, b := range d.networks.Bases() {
		i.Pools = append(i.Pools, system.AddressPool{Base: b.Prefix, Size: b.Bits})
	}
	for _, c := range d.runtime.Components(ctx) {
		i.Components = append(i.Components, system.Component{Name: c.Name, Version: c.Version, GitCommit: c.Commit})
	}
	if os.Getenv(failpointEnv) != "" {
		i.Warnings = append(i.Warnings, "WARNING: a failpoint is set: this daemon will kill itself")
	}
	return i
}
