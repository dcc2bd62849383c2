// Package netfiles is what containers see as /etc/hosts, /etc/hostname and
// /etc/resolv.conf: it writes them at start, and makes them follow the networks and the
// links of a container while that runs.
//
//	start ─▶ Write                      networks change ─▶ Refresh
//	target starts ─▶ MoveLinksTo        target is renamed ─▶ RenameLinks
//
// It promises that what the user has changed stays: lines come and go one by one, and a
// file that cannot be kept up to date is left alone, which the log says once. What the
// lines are is said by package names, how files are read and written by containerfiles.
package netfiles

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/records"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/names"
	"github.com/linkspan/linkspan/internal/state"
)

// Container is one that has the files.
type Container interface {
	Record() containerrecord.Record
	// EditRecord changes the record in memory.
	EditRecord(change func(*containerrecord.Record))
	NetFiles() *Lock
}

// Lock is held while files of a container are read and written again: links are changed
// by the target's operations too. It is a part of the container.
type Lock struct {
	mu    sync.Mutex
	users map[string]bool // files, by path, of which it was said that they are the user's
}

// Containers finds a container.
type Containers interface {
	ByID(id model.ContainerID) (Container, bool)
}

// Engine is where networks are looked at.
type Engine interface {
	Snapshot() *state.Snapshot
}

// Files writes the files of all containers.
type Files struct {
	Containers Containers
	Engine     Engine
	Records    records.Records
	Dirs       containerfiles.Dirs
	Defaults   *Defaults
	Log        *slog.Logger

	HostResolvConf, HostHosts string // the host's own files
	NoIPv6                    bool   // the kernel has no IPv6: /etc/hosts gets no IPv6 names
}

// Defaults are the daemon's settings for containers that say nothing themselves.
type Defaults struct {
	DNS        []netip.Addr
	DNSSearch  []string
	DNSOptions []string
	// HostGateway is what `host-gateway` stands for; empty means the addresses of
	// the default bridge's gateway.
	HostGateway []netip.Addr
	// LinkEnvironment gives containers with links the variables that Docker gave
	// them before version 29.
	LinkEnvironment bool
}

// record returns the record of a container that is there.
func (nf *Files) record(id model.ContainerID) (containerrecord.Record, bool) {
	c, ok := nf.Containers.ByID(id)
	if !ok {
		return containerrecord.Record{}, false
	}
	return c.Record(), true
}

// Write writes a container's files at start; edits of the last run are lost, as with
// Docker. They are links to the owner's if it uses the owner's network.
func (nf *Files) Write(c Container, owner model.ContainerID) error {
	rec, f := c.Record(), nf.Dirs.Files(c.Record().ID)
	if rec.Host.NetworkMode.IsContainer() {
		theirs := nf.Dirs.Files(owner)
		return errors.Join(containerfiles.Link(theirs.Hostname, f.Hostname), containerfiles.Link(theirs.Hosts, f.Hosts), containerfiles.Link(theirs.ResolvConf, f.ResolvConf))
	}
	c.NetFiles().mu.Lock()
	defer c.NetFiles().mu.Unlock()
	c.NetFiles().users = nil
	s := nf.Engine.Snapshot()
	hosts, err := nf.hosts(rec, s)
	if err != nil {
		return err
	}
	resolv, err := nf.resolvConf(rec, s)
	if err != nil {
		return err
	}
	c.EditRecord(func(r *containerrecord.Record) { r.ResolvHash, r.OwnEntries = hash(resolv), ownEntries(rec, s) })
	return errors.Join(
		containerfiles.Rewrite(f.Hostname, []byte(rec.Config.Hostname+"\n")),
		containerfiles.Rewrite(f.Hosts, hosts),
		containerfiles.Rewrite(f.ResolvConf, resolv),
	)
}

// Refresh makes the files of a running container follow a change of its
// networks: lines come and go in hosts, and resolv.conf is replaced unless the
// user has changed it. The network has changed already, so that a failure is
// only logged.
func (nf *Files) Refresh(ctx context.Context, c Container, after *state.Snapshot, op string) {
	f := nf.Dirs.Files(c.Record().ID)
	c.NetFiles().mu.Lock()
	var failed []error
	for path, refresh := range map[string]func(Container, string, *state.Snapshot) error{f.Hosts: nf.refreshHosts, f.ResolvConf: nf.refreshResolvConf} {
		if err := refresh(c, path, after); err != nil && !nf.spurned(c, path, err, op) {
			failed = append(failed, err)
		}
	}
	c.NetFiles().mu.Unlock()
	if err := errors.Join(failed...); err != nil {
		nf.Log.Error("files of a container not refreshed", "container", model.Short(c.Record().ID), "op", op, "err", err)
	}
	nf.Records.SaveLogged(ctx, c.Record(), op)
}

// CatchUp does what a daemon that was killed did not get to: it refreshes the
// files of a running container whose addresses are not those that were last
// written, and brings the lines of its links up to date.
func (nf *Files) CatchUp(ctx context.Context, c Container) {
	rec, s := c.Record(), nf.Engine.Snapshot()
	if rec.Sandbox == "" {
		return
	}
	if !sameEntries(rec.OwnEntries, ownEntries(rec, s)) {
		nf.Refresh(ctx, c, s, "container.restore")
	}
	if len(rec.Links)+len(rec.FormerLinks) > 0 {
		nf.catchUpLinks(c)
	}
}

// refreshHosts replaces the lines that were written last. The caller holds the
// lock of the files.
func (nf *Files) refreshHosts(c Container, path string, after *state.Snapshot) error {
	rec := c.Record()
	old, now := rec.OwnEntries, ownEntries(rec, after)
	text, err := containerfiles.Read(path)
	if err != nil {
		return err
	}
	c.EditRecord(func(r *containerrecord.Record) { r.OwnEntries = now })
	next := names.AddLines(names.RemoveLines(text, without(old, now)), without(now, old))
	if slices.Equal(next, text) {
		return nil
	}
	return containerfiles.Rewrite(path, next)
}

// refreshResolvConf is the same for resolv.conf. A text that is as it should be is
// ours, even if the daemon was killed before it could remember.
func (nf *Files) refreshResolvConf(c Container, path string, after *state.Snapshot) error {
	rec := c.Record()
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
	c.EditRecord(func(r *containerrecord.Record) { r.ResolvHash = hash(next) })
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
func ownEntries(r containerrecord.Record, s *state.Snapshot) []names.HostEntry {
	var addresses []netip.Addr
	for _, e := range s.EndpointsInOrder(r.Sandbox) {
		if e.Up && !e.WayOut {
			addresses = append(addresses, e.Addr4, e.Addr6)
		}
	}
	return names.OwnEntries(r.Config.Hostname, r.Config.Domainname, addresses...)
}

// hosts returns a container's /etc/hosts. In the host's namespace it is the
// host's own, unless the user adds to it.
func (nf *Files) hosts(r containerrecord.Record, s *state.Snapshot) ([]byte, error) {
	if r.Host.NetworkMode.IsHost() && len(r.Host.ExtraHosts) == 0 {
		return containerfiles.HostHosts(nf.HostHosts)
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
	extra = append(extra, nf.LinkEntries(r, s, "")...)
	ipv6 := !nf.NoIPv6 && r.Host.Sysctls["net.ipv6.conf.all.disable_ipv6"] != "1"
	return names.Hosts(names.HostsFile{IPv6: ipv6, Extra: extra, Own: ownEntries(r, s)}), nil
}

// hostGateways returns what `host-gateway` stands for: the daemon's setting, or
// the addresses of the default bridge.
func (nf *Files) hostGateways(s *state.Snapshot) []netip.Addr {
	if len(nf.Defaults.HostGateway) > 0 {
		return nf.Defaults.HostGateway
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
func (nf *Files) resolvConf(r containerrecord.Record, s *state.Snapshot) ([]byte, error) {
	text, path, err := containerfiles.HostResolvConf(nf.HostResolvConf)
	if err != nil {
		return nil, fmt.Errorf("the host's resolv.conf: %w", err)
	}
	f := names.ResolvConfFile{Mode: names.ModeLegacy, Host: text, Path: path, Overrides: nf.overrides(r)}
	if r.Host.NetworkMode.IsHost() {
		f.Mode = names.ModeHost
	}
	for _, e := range s.EndpointsInOrder(r.Sandbox) {
		if n, ok := s.Network(e.Network); ok && n.Named() {
			f.Mode = names.ModeInternal
		}
		f.IPv6 = f.IPv6 || e.Addr6.IsValid()
		for _, family := range model.Families {
			if len(f.Overrides.Search) == 0 && e.Up {
				f.Overrides.Search = e.Lease(family).SearchDomains()
			}
		}
	}
	return names.Render(f).Text, nil
}

// overrides returns the container's settings, the daemon's where it has none.
func (nf *Files) overrides(r containerrecord.Record) names.Overrides {
	out := names.Overrides{Servers: r.Host.DNS, Search: r.Host.DNSSearch, Options: r.Host.DNSOptions}
	if len(out.Servers) == 0 {
		out.Servers = nf.Defaults.DNS
	}
	if len(out.Search) == 0 {
		out.Search = nf.Defaults.DNSSearch
	}
	if len(out.Options) == 0 {
		out.Options = nf.Defaults.DNSOptions
	}
	return out
}

// Resolving returns how the engine's resolver serves a container, should it join
// a network that has one.
func (nf *Files) Resolving(r containerrecord.Record) model.Resolving {
	text, path, err := containerfiles.HostResolvConf(nf.HostResolvConf)
	if err != nil {
		nf.Log.Warn("the host's resolv.conf", "container", model.Short(r.ID), "op", "container.start", "err", err)
	}
	return names.Render(names.ResolvConfFile{Mode: names.ModeInternal, Host: text, Path: path, Overrides: nf.overrides(r)}).Resolving()
}

// spurned tells whether err is of a file that its user has made what it is, and
// says so once for every run and file. The caller holds the lock of the files.
func (nf *Files) spurned(c Container, path string, err error, op string) bool {
	if !errors.Is(err, containerfiles.ErrUsers) {
		return false
	}
	if !c.NetFiles().users[path] {
		if c.NetFiles().users == nil {
			c.NetFiles().users = map[string]bool{}
		}
		c.NetFiles().users[path] = true
		nf.Log.Warn("a container has made a file of its own that is not kept up to date any more", "container", model.Short(c.Record().ID), "op", op, "err", err)
	}
	return true
}
