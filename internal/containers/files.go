package containers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/records"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/names"
	"github.com/linkspan/linkspan/internal/state"
)

// netFiles writes what containers see as /etc/hosts, /etc/hostname and /etc/resolv.conf,
// and makes it follow their networks and links.
type netFiles struct {
	*registry
	dirs     containerfiles.Dirs
	records  records.Records
	log      *slog.Logger
	defaults *Defaults
	host     HostFiles
}

// writeFiles writes a container's files at start; edits of the last run are
// lost, as with Docker.
func (nf *netFiles) writeFiles(b *entry, where netns) error {
	rec, f := b.snapshot(), nf.dirs.Files(b.id)
	if rec.mode().IsContainer() {
		theirs := nf.dirs.Files(where.owner)
		return errors.Join(containerfiles.Link(theirs.Hostname, f.Hostname), containerfiles.Link(theirs.Hosts, f.Hosts), containerfiles.Link(theirs.ResolvConf, f.ResolvConf))
	}
	b.files.Lock()
	defer b.files.Unlock()
	b.usersFiles = nil
	s := nf.engine.Snapshot()
	hosts, err := nf.hosts(rec, s)
	if err != nil {
		return err
	}
	resolv, err := nf.resolvConf(rec, s)
	if err != nil {
		return err
	}
	b.edit(func(r *record) { r.ResolvHash, r.OwnEntries = hash(resolv), ownEntries(rec, s) })
	return errors.Join(
		containerfiles.Rewrite(f.Hostname, []byte(rec.Config.Hostname+"\n")),
		containerfiles.Rewrite(f.Hosts, hosts),
		containerfiles.Rewrite(f.ResolvConf, resolv),
	)
}

// refreshFiles makes the files of a running container follow a change of its
// networks: lines come and go in hosts, and resolv.conf is replaced unless the
// user has changed it. The network has changed already, so that a failure is
// only logged.
func (nf *netFiles) refreshFiles(ctx context.Context, b *entry, after *state.Snapshot, op string) {
	f := nf.dirs.Files(b.id)
	b.files.Lock()
	var failed []error
	for path, refresh := range map[string]func(*entry, string, *state.Snapshot) error{f.Hosts: nf.refreshHosts, f.ResolvConf: nf.refreshResolvConf} {
		if err := refresh(b, path, after); err != nil && !nf.spurned(b, path, err, op) {
			failed = append(failed, err)
		}
	}
	b.files.Unlock()
	if err := errors.Join(failed...); err != nil {
		nf.log.Error("files of a container not refreshed", "container", model.Short(b.id), "op", op, "err", err)
	}
	nf.records.SaveLogged(ctx, b.snapshot().plain(), op)
}

// catchUpFiles does what a daemon that was killed did not get to: it refreshes the
// files of a running container whose addresses are not those that were last
// written, and brings the lines of its links up to date.
func (nf *netFiles) catchUpFiles(ctx context.Context, b *entry) {
	rec, s := b.snapshot(), nf.engine.Snapshot()
	if rec.Sandbox == "" {
		return
	}
	if !sameEntries(rec.OwnEntries, ownEntries(rec, s)) {
		nf.refreshFiles(ctx, b, s, "container.restore")
	}
	if len(rec.Links)+len(rec.FormerLinks) > 0 {
		nf.catchUpLinks(b)
	}
}

// refreshHosts replaces the lines that were written last. The caller holds the
// lock of the files.
func (nf *netFiles) refreshHosts(b *entry, path string, after *state.Snapshot) error {
	rec := b.snapshot()
	old, now := rec.OwnEntries, ownEntries(rec, after)
	text, err := containerfiles.Read(path)
	if err != nil {
		return err
	}
	b.edit(func(r *record) { r.OwnEntries = now })
	next := names.AddLines(names.RemoveLines(text, without(old, now)), without(now, old))
	if slices.Equal(next, text) {
		return nil
	}
	return containerfiles.Rewrite(path, next)
}

// refreshResolvConf is the same for resolv.conf. A text that is as it should be is
// ours, even if the daemon was killed before it could remember.
func (nf *netFiles) refreshResolvConf(b *entry, path string, after *state.Snapshot) error {
	rec := b.snapshot()
	text, err := containerfiles.Read(path)
	if err != nil {
		return err
	}
	next, err := nf.resolvConf(rec, after)
	if err != nil {
		return err
	}
	same := slices.Equal(next, text)
	if !same && hash(text) != rec.ResolvHash {
		return nil
	}
	b.edit(func(r *record) { r.ResolvHash = hash(next) })
	if same {
		return nil
	}
	return containerfiles.Rewrite(path, next)
}

// without returns the entries of a that b lacks.
func without(a, b []names.HostEntry) []names.HostEntry {
	return slices.DeleteFunc(slices.Clone(a), func(e names.HostEntry) bool {
		return slices.ContainsFunc(b, func(o names.HostEntry) bool { return o.String() == e.String() })
	})
}

func sameEntries(a, b []names.HostEntry) bool {
	return slices.EqualFunc(a, b, func(x, y names.HostEntry) bool { return x.String() == y.String() })
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// ownEntries returns the lines of a container's own addresses.
func ownEntries(r record, s *state.Snapshot) []names.HostEntry {
	var addresses []netip.Addr
	for _, e := range s.EndpointsInOrder(r.Sandbox) {
		if e.Up {
			addresses = append(addresses, e.Addr4, e.Addr6)
		}
	}
	return names.OwnEntries(r.Config.Hostname, r.Config.Domainname, addresses...)
}

// hosts returns a container's /etc/hosts. In the host's namespace it is the
// host's own, unless the user adds to it.
func (nf *netFiles) hosts(r record, s *state.Snapshot) ([]byte, error) {
	if r.mode().IsHost() && len(r.Host.ExtraHosts) == 0 {
		return containerfiles.HostHosts(nf.host.Hosts)
	}
	var wanted []names.ExtraHost
	for _, text := range r.Host.ExtraHosts {
		extra, err := names.ParseExtraHost(text)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, extra)
	}
	extra, err := names.ResolveExtraHosts(wanted, nf.hostGateways(s))
	if err != nil {
		return nil, err
	}
	extra = append(extra, nf.linkEntries(r, s, "")...)
	ipv6 := !nf.host.NoIPv6 && r.Host.Sysctls["net.ipv6.conf.all.disable_ipv6"] != "1"
	return names.Hosts(names.HostsFile{IPv6: ipv6, Extra: extra, Own: ownEntries(r, s)}), nil
}

// hostGateways returns what `host-gateway` stands for: the daemon's setting, or
// the addresses of the default bridge.
func (nf *netFiles) hostGateways(s *state.Snapshot) []netip.Addr {
	if len(nf.defaults.HostGateway) > 0 {
		return nf.defaults.HostGateway
	}
	bridge, ok := s.NetworkNamed(model.NetworkBridge)
	if !ok {
		return nil
	}
	var out []netip.Addr
	for _, f := range model.Families {
		if pool, ok := bridge.Pool(f); ok && bridge.Enabled(f) && pool.Gateway.IsValid() {
			out = append(out, pool.Gateway)
		}
	}
	return out
}

// resolvConf returns a container's /etc/resolv.conf.
func (nf *netFiles) resolvConf(r record, s *state.Snapshot) ([]byte, error) {
	text, path, err := containerfiles.HostResolvConf(nf.host.ResolvConf)
	if err != nil {
		return nil, fmt.Errorf("the host's resolv.conf: %w", err)
	}
	f := names.ResolvConfFile{Mode: names.ModeLegacy, Host: text, Path: path, Overrides: nf.overrides(r)}
	if r.mode().IsHost() {
		f.Mode = names.ModeHost
	}
	for _, e := range s.EndpointsInOrder(r.Sandbox) {
		if n, ok := s.Network(e.Network); ok && n.Named() {
			f.Mode = names.ModeInternal
		}
		f.IPv6 = f.IPv6 || e.Addr6.IsValid()
	}
	return names.Render(f).Text, nil
}

// overrides returns the container's settings, the daemon's where it has none.
func (nf *netFiles) overrides(r record) names.Overrides {
	out := names.Overrides{Servers: r.Host.DNS, Search: r.Host.DNSSearch, Options: r.Host.DNSOptions}
	if len(out.Servers) == 0 {
		out.Servers = nf.defaults.DNS
	}
	if len(out.Search) == 0 {
		out.Search = nf.defaults.DNSSearch
	}
	if len(out.Options) == 0 {
		out.Options = nf.defaults.DNSOptions
	}
	return out
}

// resolving returns how the engine's resolver serves a container, should it join
// a network that has one.
func (nf *netFiles) resolving(r record) model.Resolving {
	text, path, err := containerfiles.HostResolvConf(nf.host.ResolvConf)
	if err != nil {
		nf.log.Warn("the host's resolv.conf", "container", model.Short(r.ID), "op", "container.start", "err", err)
	}
	return names.Render(names.ResolvConfFile{Mode: names.ModeInternal, Host: text, Path: path, Overrides: nf.overrides(r)}).Resolving()
}

func sameResolving(s *state.Snapshot, id model.SandboxID, r model.Resolving) bool {
	sb, ok := s.Sandbox(id)
	return ok && sb.DNS.NDots == r.NDots && slices.Equal(sb.DNS.Servers, r.Servers)
}

// spurned tells whether err is of a file that its user has made what it is, and
// says so once for every run and file. The caller holds the lock of the files.
func (nf *netFiles) spurned(b *entry, path string, err error, op string) bool {
	if !errors.Is(err, containerfiles.ErrUsers) {
		return false
	}
	if !b.usersFiles[path] {
		if b.usersFiles == nil {
			b.usersFiles = map[string]bool{}
		}
		b.usersFiles[path] = true
		nf.log.Warn("a container has made a file of its own that is not kept up to date any more", "container", model.Short(b.id), "op", op, "err", err)
	}
	return true
}
