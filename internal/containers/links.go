package containers

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/names"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// findLinks returns the links of a container that is being made. On networks of
// the user's own links are part of memberships.
func (reg *registry) findLinks(r record) ([]link, error) {
	if r.mode().IsUserDefined() {
		return nil, nil
	}
	var out []link
	for _, text := range r.Host.Links {
		name, alias, err := containerspec.ParseLink(text)
		if err != nil {
			return nil, err
		}
		target, err := reg.linkable(name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(l link) bool { return l.Alias == alias }) {
			out = append(out, link{Target: target.ID, Alias: alias})
		}
	}
	return out, nil
}

// maxShared bounds how many containers in a row use the network of the next.
const maxShared = 16

// linkable finds the container whose network a link to name leads to.
func (reg *registry) linkable(name string) (record, error) {
	ref := name
	for range maxShared {
		b, err := reg.find(ref)
		if err != nil {
			return record{}, model.Errorf(model.Invalid, "could not get container for %s: %v", name, err)
		}
		target := b.snapshot()
		switch mode := target.mode(); {
		case mode.IsHost():
			return record{}, refuse(containerspec.HostAndLinks)
		case !mode.IsContainer():
			return target, nil
		default:
			ref = mode.ConnectedContainer()
		}
	}
	return record{}, model.Errorf(model.Invalid, "could not get container for %s: too many containers share a network", name)
}

// opening returns what the links open where containers are kept apart: the ports
// that their targets expose.
func (reg *registry) opening(links []link) []model.SandboxLink {
	var out []model.SandboxLink
	for _, l := range links {
		target, ok := reg.byID(l.Target)
		if !ok || slices.ContainsFunc(out, func(o model.SandboxLink) bool { return o.Target == target.Sandbox }) {
			continue
		}
		out = append(out, model.SandboxLink{Target: target.Sandbox, Ports: containerspec.Exposed(target.Config.ExposedPorts)})
	}
	return out
}

// byID returns the record of a container that is there.
func (reg *registry) byID(id model.ContainerID) (record, bool) {
	reg.mu.Lock()
	b, ok := reg.entries[id]
	reg.mu.Unlock()
	if !ok {
		return record{}, false
	}
	return b.snapshot(), true
}

// linkedAs finds the container to which a link leads, by the link's name.
func (reg *registry) linkedAs(name string) (*entry, bool) {
	owner, alias, ok := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	if !ok {
		return nil, false
	}
	named, _ := reg.engine.Snapshot().ContainerNamed(owner)
	reg.mu.Lock()
	defer reg.mu.Unlock()
	b, ok := reg.entries[named.ID]
	if !ok {
		return nil, false
	}
	for _, l := range b.snapshot().Links {
		if l.Alias == alias {
			target, there := reg.entries[l.Target]
			return target, there
		}
	}
	return nil, false
}

// checkTargets refuses to start a container with a link that leads nowhere. A
// container that is not on the default bridge has no use for its links.
func (n *namespaces) checkTargets(r record, s *state.Snapshot) error {
	if len(r.Links) == 0 || !onBridge(r, s) {
		return nil
	}
	for _, l := range r.Links {
		target, ok := n.byID(l.Target)
		switch {
		case !ok: // the link has gone with its target
		case !target.State.Running || target.State.Restarting:
			return model.Errorf(model.Unfit, "Cannot link to a non running container: /%s AS %s", target.Name, r.linkName(l))
		case !onBridge(target, s):
			return model.Errorf(model.Unfit, "Cannot link to /%s, as it does not belong to the default network", target.Name)
		}
	}
	return nil
}

func onBridge(r record, s *state.Snapshot) bool {
	_, ok := bridgeEndpoint(r, s)
	return ok
}

func bridgeEndpoint(r record, s *state.Snapshot) (model.Endpoint, bool) {
	n, ok := s.NetworkNamed(model.NetworkBridge)
	if !ok {
		return model.Endpoint{}, false
	}
	return s.EndpointAt(r.Sandbox, n.ID)
}

// linkName is what Docker calls a link: "/container/alias".
func (r record) linkName(l link) string { return "/" + r.Name + "/" + l.Alias }

// linkEntries returns the lines of hosts for the links of r, or only those to
// target if that is not empty. Targets that are not up have none.
func (nf *netFiles) linkEntries(r record, s *state.Snapshot, target model.ContainerID) []names.HostEntry {
	return nf.linkEntriesOf(r, s, target, func(to record) string { return to.Name })
}

// linkEntriesOf is linkEntries where name says what the targets are called.
func (nf *netFiles) linkEntriesOf(r record, s *state.Snapshot, target model.ContainerID, name func(record) string) []names.HostEntry {
	if len(r.Links) == 0 || !onBridge(r, s) {
		return nil
	}
	var out []names.HostEntry
	for _, l := range r.Links {
		to, ok := nf.byID(l.Target)
		if !ok || target != "" && l.Target != target {
			continue
		}
		e, _ := bridgeEndpoint(to, s)
		if !e.Up {
			continue
		}
		for _, a := range []netip.Addr{e.Addr4, e.Addr6} {
			if a.IsValid() {
				out = append(out, names.LinkEntry(a, l.Alias, to.Config.Hostname, name(to)))
			}
		}
	}
	return out
}

// linkEnvironment returns the variables that tell a container of its links, if
// the daemon gives any. They are true at its start, and for as long as the
// targets keep their addresses.
func (nf *netFiles) linkEnvironment(r record) []string {
	if !nf.defaults.LinkEnvironment || len(r.Links) == 0 {
		return nil
	}
	var out []string
	s := nf.engine.Snapshot()
	for _, l := range r.Links {
		to, ok := nf.byID(l.Target)
		if e, _ := bridgeEndpoint(to, s); ok && e.Up {
			out = append(out, names.LinkEnvironment(names.Linked{
				Name: r.linkName(l), Alias: l.Alias, Addr: e.Addr4, Ports: containerspec.Exposed(to.Config.ExposedPorts), Env: to.Config.Env,
			})...)
		}
	}
	return out
}

// linkers returns the containers that have a link to target.
func (nf *netFiles) linkers(target record, s *state.Snapshot) []*entry {
	sb, _ := s.Sandbox(target.Sandbox)
	var out []*entry
	for _, id := range sb.LinkedBy {
		from, _ := s.Sandbox(id)
		nf.mu.Lock()
		b, ok := nf.entries[from.Container]
		nf.mu.Unlock()
		if ok {
			out = append(out, b)
		}
	}
	return out
}

// moveLinksTo brings the hosts files of those who link to a container up to date
// that has started, perhaps with another address. Its own start does not fail for
// their sake.
func (nf *netFiles) moveLinksTo(target record) {
	for _, b := range nf.linkers(target, nf.engine.Snapshot()) {
		nf.moveLinks(b, target.ID, "container.start")
	}
}

// moveLinks brings the lines of a container's links up to date, or only those to
// target if that is not empty.
func (nf *netFiles) moveLinks(b *entry, target model.ContainerID, op string) {
	nf.editHosts(b, op, func(text []byte) []byte {
		for _, e := range nf.linkEntries(b.snapshot(), nf.engine.Snapshot(), target) {
			text = names.MoveLines(text, e)
		}
		return text
	})
}

// catchUpLinks does to a container's hosts file what a daemon that was killed did not
// get to: lines of links that are gone go, and lines of targets that were renamed or
// came back with another address follow.
func (nf *netFiles) catchUpLinks(b *entry) {
	rec, s := b.snapshot(), nf.engine.Snapshot()
	nf.editHosts(b, "container.restore", func(text []byte) []byte {
		text = names.RemoveLines(text, without(rec.FormerLinks, nf.linkEntries(rec, s, "")))
		return names.ReplaceLines(text, nf.formerEntries(rec, s), nf.linkEntries(rec, s, ""))
	})
	nf.moveLinks(b, "", "container.restore")
}

// formerEntries returns linkEntries with the names that the targets had before.
func (nf *netFiles) formerEntries(r record, s *state.Snapshot) []names.HostEntry {
	return nf.linkEntriesOf(r, s, "", func(to record) string { return cmp.Or(to.FormerName, to.Name) })
}

// renameLinks makes the hosts files of those who link to a container follow its
// new name.
func (nf *netFiles) renameLinks(target record, change func()) {
	s, id := nf.engine.Snapshot(), target.ID
	linkers := nf.linkers(target, s)
	before := make([][]names.HostEntry, len(linkers))
	for i, b := range linkers {
		before[i] = nf.linkEntries(b.snapshot(), s, id)
	}
	change()
	for i, b := range linkers {
		nf.editHosts(b, "container.rename", func(text []byte) []byte {
			return names.ReplaceLines(text, before[i], nf.linkEntries(b.snapshot(), s, id))
		})
	}
}

// editHosts changes the hosts file of a container, if there is one yet.
func (nf *netFiles) editHosts(b *entry, op string, change func([]byte) []byte) {
	b.files.Lock()
	defer b.files.Unlock()
	file := nf.dirs.Files(b.id).Hosts
	text, err := containerfiles.Read(file)
	if err == nil {
		if next := change(text); !slices.Equal(next, text) {
			err = containerfiles.Rewrite(file, next)
		}
	}
	if err != nil && !nf.spurned(b, file, err, op) && !errors.Is(err, fs.ErrNotExist) {
		nf.log.Error("links of a container not refreshed", "container", model.Short(b.id), "op", op, "err", err)
	}
}

// RemoveLink removes a link by its name, "container/alias", and leaves the
// containers at both ends alone.
func (ms *memberships) RemoveLink(ctx context.Context, name string) error {
	owner, alias := path.Split(strings.TrimPrefix(name, "/"))
	if owner == "" {
		return model.Errorf(model.Conflict, "Conflict, cannot remove the default link name of the container")
	}
	b, err := ms.acquire(ctx, strings.TrimSuffix(owner, "/"))
	if err != nil {
		return model.Errorf(model.KindOf(err), "Cannot get parent %s for link name %s: %w", strings.TrimSuffix(owner, "/"), name, err)
	}
	defer b.opLock.release()
	ctx = context.WithoutCancel(ctx)
	rec := b.snapshot()
	i := slices.IndexFunc(rec.Links, func(l link) bool { return l.Alias == alias })
	if i < 0 {
		return model.Errorf(model.NotFound, "No such link: /%s", strings.TrimPrefix(name, "/"))
	}
	target := rec.Links[i].Target
	lines := ms.files.linkEntries(record{Name: rec.Name, Sandbox: rec.Sandbox, Links: rec.Links[i : i+1]}, ms.engine.Snapshot(), target)
	left := slices.Delete(slices.Clone(rec.Links), i, i+1)
	var closing []ops.Op
	if to, ok := ms.byID(target); ok && !slices.ContainsFunc(left, func(l link) bool { return l.Target == target }) {
		closing = append(closing, ops.Unlink(rec.Sandbox, to.Sandbox))
	}
	rec.Links, rec.FormerLinks = left, lines
	if err := ms.records.Commit(ctx, rec.plain(), closing...); err != nil {
		return err
	}
	b.set(rec)
	ms.files.editHosts(b, "container.unlink", func(text []byte) []byte { return names.RemoveLines(text, lines) })
	return nil
}

// shownLinks returns a container's links as inspect has them, nil without any.
func (reg *registry) shownLinks(r record) []string {
	var out []string
	for _, l := range r.Links {
		if target, ok := reg.byID(l.Target); ok {
			out = append(out, "/"+target.Name+":"+r.linkName(l))
		}
	}
	return out
}

// linkedNames returns, by container, the names that links give it.
func (reg *registry) linkedNames() map[model.ContainerID][]string {
	out := map[model.ContainerID][]string{}
	for _, b := range reg.all() {
		r := b.snapshot()
		for _, l := range r.Links {
			out[l.Target] = append(out[l.Target], r.linkName(l))
		}
	}
	return out
}
