package registry

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	hostconfig "github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/distribution/reference"
	"golang.org/x/net/http/httpproxy"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// CertsDir is where Docker's users keep certificates: a folder for each host[:port], with
	// *.crt of authorities, and *.cert and *.key of ours; or a hosts.toml (containerd's
	// docs/hosts.md).
	CertsDir = "/etc/docker/certs.d"

	hubName = "docker.io"            // by which images of Docker Hub are called
	hubHost = "registry-1.docker.io" // which serves them
	hubAuth = "index.docker.io"      // under which clients file credentials for it

	// lookupTimeout bounds how long the address of a registry is looked up only to learn
	// whether it lies in a subnet that needs no certificate.
	lookupTimeout = 5 * time.Second
	// defaultPatience is how long a registry may say nothing.
	defaultPatience = 30 * time.Second
)

// Settings are what can change while the daemon runs.
type Settings struct {
	// Insecure are hosts, with or without a port, and subnets in CIDR form whose registries
	// need no good certificate, or may speak plain HTTP.
	Insecure []string
	// Mirrors are URLs to ask before Docker Hub.
	Mirrors []string
	// Downloads and Uploads are how many layers of an image are moved at a time, Attempts how
	// often one is tried.
	Downloads, Uploads, Attempts int
}

// Options say how registries are reached. Settings may be nil.
type Options struct {
	Settings func() Settings
	// CertsDir is the folder with certificates; empty means /etc/docker/certs.d.
	CertsDir string
	// Proxy are the daemon's proxies; fields that are empty mean none.
	Proxy     httpproxy.Config
	UserAgent string
	// Patience is how long a registry may say nothing; 0 means 30 s.
	Patience time.Duration
	Logger   *slog.Logger
}

// Registries is the way to all registries. Its methods may be called from any goroutine.
type Registries struct {
	options Options
	proxy   func(*url.URL) (*url.URL, error)
	log     *slog.Logger
}

// New returns the way to registries.
func New(o Options) *Registries {
	if o.Settings == nil {
		o.Settings = func() Settings { return Settings{} }
	}
	if o.CertsDir == "" {
		o.CertsDir = CertsDir
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registries{options: o, proxy: o.Proxy.ProxyFunc(), log: o.Logger}
}

// Settings returns the settings of now.
func (r *Registries) Settings() Settings { return r.options.Settings() }

// Resolver returns what finds, fetches and pushes images of ref's repository, with these
// credentials. Uploads are noted in the tracker, which may be nil.
func (r *Registries) Resolver(ref reference.Named, auth model.RegistryAuth, tracker docker.StatusTracker) remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts:   func(name string) ([]docker.RegistryHost, error) { return r.hosts(name, reference.Domain(ref), auth) },
		Tracker: tracker,
		Headers: http.Header{"User-Agent": {r.options.UserAgent}},
	})
}

// Hosts is Resolver for who brings credentials of his own: it returns who serves a registry's
// images, in the order in which they are asked.
func (r *Registries) Hosts(name string) ([]docker.RegistryHost, error) {
	return r.hosts(name, name, model.RegistryAuth{})
}

// hosts returns who serves the images of a registry, in the order in which they are asked. domain
// is the registry's name in the reference that the credentials came with.
func (r *Registries) hosts(name, domain string, auth model.RegistryAuth) ([]docker.RegistryHost, error) {
	settings := r.options.Settings()
	hosts, err := r.configured(name)
	if err != nil {
		return nil, err
	}
	// Several hosts come from a hosts.toml, which then is what was meant.
	if len(hosts) == 1 && name == hubName {
		mirrors, err := r.mirrors(settings.Mirrors)
		if err != nil {
			return nil, err
		}
		hosts = append(mirrors, hosts...)
	}
	for i := range hosts {
		r.forgive(&hosts[i], settings.Insecure)
		hosts[i].Authorizer = authorizer(auth, domain, hosts[i].Client)
	}
	return hosts, nil
}

// configured returns who serves a registry's images by the files in the folder of certificates.
func (r *Registries) configured(name string) ([]docker.RegistryHost, error) {
	hosts, err := hostconfig.ConfigureHosts(context.Background(), hostconfig.HostOptions{
		HostDir: hostconfig.HostDirFromRoot(r.options.CertsDir),
		UpdateClient: func(c *http.Client) error {
			if t, ok := c.Transport.(*http.Transport); ok {
				c.Transport = r.bounded(t)
			}
			return nil
		},
	})(name)
	if err != nil {
		return nil, model.Errorf(model.Internal, "certificates for %s in %s: %w", name, r.options.CertsDir, err)
	}
	return hosts, nil
}

// mirrors returns who is asked before Docker Hub. They serve pulls only, and have certificates
// filed under their own names.
func (r *Registries) mirrors(urls []string) ([]docker.RegistryHost, error) {
	var out []docker.RegistryHost
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			continue // the configuration was checked
		}
		own, err := r.configured(u.Host)
		if err != nil {
			return nil, err
		}
		if len(own) != 1 {
			continue // its hosts.toml leads elsewhere
		}
		m := own[0]
		m.Scheme, m.Path = u.Scheme, strings.TrimSuffix(u.Path, "/")
		if !strings.HasSuffix(m.Path, "/v2") {
			m.Path = path.Join("/", m.Path, "v2")
		}
		m.Capabilities = docker.HostCapabilityPull | docker.HostCapabilityResolve | docker.HostCapabilityReferrers
		out = append(out, m)
	}
	return out, nil
}

// forgive lets a registry that needs no certificate be reached without one, or by plain HTTP if it
// is that what it speaks.
func (r *Registries) forgive(h *docker.RegistryHost, insecure []string) {
	b, ok := h.Client.Transport.(*bounded)
	if !ok || h.Scheme != "https" || !isInsecure(h.Host, insecure) {
		return
	}
	t := b.inner.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.InsecureSkipVerify = true //nolint:gosec // asked for by the administrator
	client := *h.Client
	client.Transport = docker.NewHTTPFallback(r.bounded(t))
	h.Client = &client
}

// isInsecure tells whether a registry, a host with or without a port, needs no certificate: it is
// named, or has an address in a subnet that is, or on this machine.
func isInsecure(host string, insecure []string) bool {
	subnets := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, name := range insecure {
		if _, rest, ok := strings.Cut(name, "://"); ok {
			name = rest
		}
		if p, err := netip.ParsePrefix(name); err == nil {
			subnets = append(subnets, p.Masked())
		} else if name == host {
			return true
		}
	}
	if host == hubHost {
		return false
	}
	bare, _, err := net.SplitHostPort(host)
	if err != nil {
		bare = host
	}
	for _, a := range addresses(bare) {
		if slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) }) {
			return true
		}
	}
	return false
}

// addresses looks a host up; none are found of one that nobody knows.
func addresses(host string) []netip.Addr {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{a}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	return found
}
