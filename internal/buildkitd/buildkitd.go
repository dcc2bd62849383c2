package buildkitd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/defaults"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/cache/remotecache"
	"github.com/moby/buildkit/cache/remotecache/inline"
	localcache "github.com/moby/buildkit/cache/remotecache/local"
	registrycache "github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/frontend"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/worker"
	"go.etcd.io/bbolt"
	"golang.org/x/net/http/httpproxy"
	"google.golang.org/grpc"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
	"github.com/linkspan/linkspan/internal/privateapi"
	"github.com/linkspan/linkspan/internal/runtime/registry"
)

const (
	// headerTimeout bounds how long the daemon may take for a request's header.
	headerTimeout = 10 * time.Second
	// sweepTimeout bounds how long what an earlier process left holds up the start.
	sweepTimeout = 30 * time.Second
	// endTimeout bounds how long the steps that are cut short may take. The next process ends
	// those that take longer.
	endTimeout = 10 * time.Second
)

// Server answers what package wire describes. Its methods may be called from any goroutine.
type Server struct {
	log        *slog.Logger
	registries *registry.Registries
	networks   *networks
	contexts   *contexts
	made       *announcer
	sessions   *session.Manager
	control    *control.Controller
	containers *client.Client
	grpc       *grpc.Server
	taken      *handedOver
	conn       *grpc.ClientConn // to the server itself
	client     controlapi.ControlClient
	// hostGateways are what host-gateway stands for.
	hostGateways []string
}

// Run serves until ctx ends. Builds under way are then cut short, and their steps ended.
func Run(ctx context.Context, c wire.Config, log *slog.Logger) error {
	tellVersion()
	s, err := open(ctx, c, log)
	if err != nil {
		return err
	}
	l, err := listen(c.Socket)
	if err != nil {
		return errors.Join(err, s.close())
	}
	log.Info("ready", "op", "build.start", "socket", c.Socket)
	return errors.Join(s.serve(ctx, l), s.close())
}

// open makes everything ready, after what an earlier process has left is gone.
func open(ctx context.Context, c wire.Config, log *slog.Logger) (*Server, error) {
	for dir, mode := range map[string]os.FileMode{c.DataRoot: 0o710, c.ExecRoot: 0o700, filepath.Join(c.ExecRoot, "steps"): 0o700, os.TempDir(): 0o700} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, fmt.Errorf("folder for builds: %w", err)
		}
	}
	sessions, err := session.NewManager()
	if err != nil {
		return nil, err
	}
	s := &Server{
		log: log, contexts: newContexts(), made: newAnnouncer(), sessions: sessions, taken: newHandedOver(),
		registries: registry.New(registry.Options{
			Settings: func() registry.Settings {
				return registry.Settings{Insecure: c.Registries.Insecure, Mirrors: c.Registries.Mirrors}
			},
			Proxy:     httpproxy.Config{HTTPProxy: c.Registries.HTTPProxy, HTTPSProxy: c.Registries.HTTPSProxy, NoProxy: c.Registries.NoProxy},
			UserAgent: c.Registries.UserAgent, Logger: log,
		}),
		networks: &networks{daemon: privateapi.Client{Socket: c.Private}, name: c.Network, search: c.DNS.Search, dir: filepath.Join(c.ExecRoot, "steps"), log: log},
	}
	for _, a := range c.HostGateways {
		s.hostGateways = append(s.hostGateways, a.String())
	}
	w, err := s.openWorker(ctx, c)
	if err != nil {
		return nil, err
	}
	s.sweep(ctx, c)
	if err := s.openControl(ctx, c, w); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return s, nil
}

// sweep removes what is left of the steps of a process that was killed.
func (s *Server) sweep(ctx context.Context, c wire.Config) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	for _, err := range []error{sweepSteps(ctx, s.containers, c.Instance), s.networks.sweep(ctx), unmountBelow(os.TempDir())} {
		if err != nil { // the next start tries again
			s.log.Warn("what an earlier process left is not all gone", "op", "build.sweep", "err", err)
		}
	}
}

// openControl makes the solver, its frontends and caches.
func (s *Server) openControl(ctx context.Context, c wire.Config, w *imageWorker) error {
	cache, err := bboltcachestorage.NewStore(filepath.Join(c.DataRoot, "cache.db"))
	if err != nil {
		return fmt.Errorf("open the build cache: %w", err)
	}
	history, err := bbolt.Open(filepath.Join(c.DataRoot, "history.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, Timeout: headerTimeout})
	if err != nil {
		return errors.Join(fmt.Errorf("open the history of builds: %w", err), cache.Close())
	}
	workers := &worker.Controller{}
	if err := workers.Add(w); err != nil {
		return err
	}
	inImages, err := gateway.NewGatewayFrontend(workers.Infos(), nil)
	if err != nil {
		return err
	}
	store, hosts := w.ContentStore(), s.registries.Hosts
	s.control, err = control.NewController(control.Opt{
		SessionManager: s.sessions, WorkerController: workers, CacheStore: cache, HistoryDB: history,
		Frontends: map[string]frontend.Frontend{
			"dockerfile.v0": forwarder.NewGatewayForwarder(workers.Infos(), dockerfile.Build), "gateway.v0": inImages,
		},
		CacheManager: solver.NewCacheManager(ctx, "local", cache, worker.NewCacheResultStorage(workers)),
		ResolveCacheImporterFuncs: map[string]remotecache.ResolveCacheImporterFunc{
			"local": localcache.ResolveCacheImporterFunc(s.sessions), "registry": registrycache.ResolveCacheImporterFunc(s.sessions, store, hosts),
		},
		ResolveCacheExporterFuncs: map[string]remotecache.ResolveCacheExporterFunc{
			"inline": inline.ResolveCacheExporterFunc(), "local": localcache.ResolveCacheExporterFunc(s.sessions), "registry": registrycache.ResolveCacheExporterFunc(s.sessions, hosts),
		},
		// As Docker has it: a client may ask for the host's network, for more than a
		// container's rights it may not.
		Entitlements: []string{string(entitlements.EntitlementNetworkHost)},
		LeaseManager: w.LeaseManager(), ContentStore: store, GarbageCollect: w.GarbageCollect,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("open the solver: %w", err), history.Close(), cache.Close())
	}
	s.grpc = grpc.NewServer(
		grpc.ChainUnaryInterceptor(grpcerrors.UnaryServerInterceptor), grpc.ChainStreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize), grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
	)
	s.control.Register(s.grpc)
	return s.connect()
}

// serve answers on a listener until ctx ends.
func (s *Server) serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: headerTimeout, BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 2)
	go func() { failed <- s.grpc.Serve(s.taken) }()
	go func() { failed <- server.Serve(l) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	s.grpc.Stop()
	return errors.Join(err, server.Close(), s.taken.Close())
}

// close lets go of everything, once the steps that were cut short have ended.
func (s *Server) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return errors.Join(s.networks.await(ctx), s.conn.Close(), s.control.Close(), s.containers.Close())
}

// listen opens the socket, in place of one that an earlier process left.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(fresh, 0o600), os.Rename(fresh, path)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// handler routes requests.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.PathControl, s.serveControl)
	mux.HandleFunc("POST "+wire.PathSession, s.serveSession)
	mux.HandleFunc("POST "+wire.PathBuild, s.serveBuild)
	mux.HandleFunc("POST "+wire.PathPrune, s.servePrune)
	mux.HandleFunc("GET "+wire.PathUsage, s.serveUsage)
	mux.HandleFunc("GET "+wire.PathImages, s.made.serve)
	return mux
}

// serveControl gives a connection to gRPC.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrade(w, r)
	if err != nil {
		refuse(w, err)
		return
	}
	if err := s.taken.hand(conn); err != nil {
		s.log.Debug("a connection came too late", "op", "build.control", "err", err)
		return
	}
	select { // the request goes on for as long as the connection
	case <-conn.(*hijacked).closed:
	case <-r.Context().Done():
	}
}

// serveSession has a client answer what a build needs of it: files, secrets, credentials.
func (s *Server) serveSession(w http.ResponseWriter, r *http.Request) {
	if err := s.sessions.HandleHTTPRequest(r.Context(), w, r); err != nil {
		s.log.Debug("session refused", "op", "build.session", "err", err)
		refuse(w, err)
	}
}

// refuse answers a request that cannot be served. Nothing is said once the connection was
// taken over.
func refuse(w http.ResponseWriter, err error) { http.Error(w, err.Error(), http.StatusBadRequest) }
