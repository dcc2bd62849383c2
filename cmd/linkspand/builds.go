package main

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/linkspan/linkspan/internal/builder"
	"github.com/linkspan/linkspan/internal/buildkitd/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// buildCgroups is where build steps get their cgroups, below "buildkit" there: beside those of containers.
const buildCgroups = "/linkspan"

// builds is what the daemon does for builds of images.
type builds struct{ *daemon }

// open makes what starts the builder with the first build.
func (d builds) open() *builder.Builder {
	launcher := builder.Launcher{
		Log: filepath.Join(d.dataRoot(), "buildkitd.log"), TempDir: filepath.Join(d.execRoot(), "tmp"), Logger: d.log,
		LogLevel: strings.ToLower(levelOf(d.daemon.config, d.daemon.config.Settings).String()),
	}
	b := builder.New(builder.Options{
		Launch: launcher.Launch, Config: d.config, Built: d.built, Logger: d.log,
		Made: func(i wire.Image) { d.images.Built(model.ImageID(i.ID), i.Names) },
	})
	d.later(func(ctx context.Context) error { return b.Close(ctx) })
	return b
}

func (d builds) dataRoot() string { return filepath.Join(d.daemon.config.DataRoot, "buildkit") }
func (d builds) execRoot() string { return filepath.Join(d.daemon.config.ExecRoot, "buildkit") }

// built tells whether there ever was a build.
func (d builds) built() bool {
	_, err := os.Stat(filepath.Join(d.dataRoot(), "cache.db"))
	return err == nil
}

// config is what a builder that starts now is told.
func (d builds) config() wire.Config {
	c, settings, access := d.daemon.config, d.settings.Load(), d.runtime.Access()
	out := wire.Config{
		Socket: filepath.Join(d.execRoot(), "buildkitd.sock"), DataRoot: d.dataRoot(), ExecRoot: d.execRoot(),
		Containerd: access.Containerd, Namespace: access.Namespace, Snapshotter: access.Snapshotter, Anchor: access.Anchor, AppArmor: access.AppArmor,
		Private: filepath.Join(c.ExecRoot, "private.sock"), Network: model.NetworkBridge, Instance: d.store.Instance()[:instanceLen],
		CgroupParent: buildCgroups, HostGateways: d.hostGateways(),
		DNS: wire.DNS{Search: c.DNSSearch, Options: c.DNSOptions},
		Registries: wire.Registries{
			Insecure: settings.InsecureRegistries, Mirrors: settings.RegistryMirrors, UserAgent: "linkspan/" + version + " os/linux arch/" + goruntime.GOARCH,
		},
	}
	for _, a := range c.DNS {
		out.DNS.Servers = append(out.DNS.Servers, a.String())
	}
	p := proxies(c)
	out.Registries.HTTPProxy, out.Registries.HTTPSProxy, out.Registries.NoProxy = p.HTTPProxy, p.HTTPSProxy, p.NoProxy
	return out
}

// hostGateways are what host-gateway stands for: the daemon's setting, or the addresses of
// the default bridge.
func (d builds) hostGateways() (out []netip.Addr) {
	if set := d.daemon.config.HostGatewayIPs; len(set) > 0 {
		return set
	}
	n, ok := d.engine.Snapshot().NetworkNamed(model.NetworkBridge)
	if !ok {
		return nil
	}
	for _, f := range model.Families {
		if pool, ok := n.Pool(f); ok && n.Enabled(f) && pool.Gateway.IsValid() {
			out = append(out, pool.Gateway)
		}
	}
	return out
}
