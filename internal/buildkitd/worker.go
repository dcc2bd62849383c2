package buildkitd

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/platforms"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/executor/containerdexecutor"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/session"
	httpsource "github.com/moby/buildkit/source/http"
	"github.com/moby/buildkit/util/network/netproviders"
	"github.com/moby/buildkit/worker/base"
	"github.com/moby/buildkit/worker/containerd"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
)

const (
	// connectTimeout bounds the wait for containerd.
	connectTimeout = 30 * time.Second

	// By these labels buildx knows what Docker's builder can do, and what host-gateway
	// stands for.
	labelSnapshotter = "org.mobyproject.buildkit.worker.snapshotter"
	labelHostGateway = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"
)

// imageWorker is BuildKit's worker with Docker's exporter, "moby": it makes images of the
// engine's.
type imageWorker struct {
	*base.Worker
	anchor string
	made   *announcer
}

// Exporter implements worker.Worker.
func (w *imageWorker) Exporter(name string, sessions *session.Manager) (exporter.Exporter, error) {
	if name != exporterMoby && name != bkclient.ExporterImage {
		return w.Worker.Exporter(name, sessions)
	}
	inner, err := w.Worker.Exporter(bkclient.ExporterImage, sessions)
	if err != nil {
		return nil, err
	}
	return imageExporter{inner, w.anchor, w.ImageStore, w.made}, nil
}

// openWorker makes the worker on the engine's containerd.
func (s *Server) openWorker(ctx context.Context, c wire.Config) (*imageWorker, error) {
	opts := []client.Opt{client.WithTimeout(connectTimeout)}
	wo, err := containerd.NewWorkerOpt(containerd.WorkerOptions{
		Root: c.DataRoot, Address: c.Containerd, SnapshotterName: c.Snapshotter, Namespace: c.Namespace,
		Labels: workerLabels(c), NetworkOpt: netproviders.Opt{Mode: "host"}, // which are replaced below
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("open containerd for builds: %w", err)
	}
	if wo.ProxyProvider != nil { // it is for steps without a network of ours
		if err := wo.ProxyProvider.Close(); err != nil {
			return nil, err
		}
		wo.ProxyProvider = nil
	}
	for i, p := range wo.Platforms {
		wo.Platforms[i] = platforms.Normalize(p)
	}
	for _, p := range wo.NetworkProviders {
		if err := p.Close(); err != nil {
			return nil, err
		}
	}
	wo.NetworkProviders = s.networks.providers()
	wo.RegistryHosts = s.registries.Hosts
	wo.GCPolicy = cachePolicy(c.DataRoot)
	own, err := openSteps(c, opts)
	if err != nil {
		return nil, fmt.Errorf("open containerd for build steps: %w", err)
	}
	wo.Executor = containerdexecutor.New(containerdexecutor.ExecutorOptions{
		Client: own, Root: filepath.Join(c.ExecRoot, "steps"), CgroupParent: c.CgroupParent, NetworkProviders: wo.NetworkProviders,
		DNSConfig: &oci.DNSConfig{Nameservers: c.DNS.Servers, SearchDomains: c.DNS.Search, Options: c.DNS.Options}, ApparmorProfile: c.AppArmor,
	})
	s.containers = own
	w, err := base.NewWorker(ctx, wo)
	if err != nil {
		return nil, fmt.Errorf("open the worker: %w", err)
	}
	// The context of a client without a session is a body that was sent, under a name that
	// only the solver knows.
	source, err := httpsource.NewSource(httpsource.Opt{CacheAccessor: w.CacheManager(), Transport: s.contexts})
	if err != nil {
		return nil, err
	}
	w.SourceManager.Register(source)
	w.HTTPSource = source
	return &imageWorker{w, c.Anchor, s.made}, nil
}

// workerLabels are what clients are told of the worker.
func workerLabels(c wire.Config) map[string]string {
	out := map[string]string{labelSnapshotter: c.Snapshotter}
	if gateway := preferred(c.HostGateways); gateway.IsValid() {
		out[labelHostGateway] = gateway.String()
	}
	return out
}

// preferred returns the one address that stands for several: buildx knows only one.
func preferred(all []netip.Addr) netip.Addr {
	var out netip.Addr
	for _, a := range all {
		if a.Is4() {
			return a
		}
		out = a
	}
	return out
}
