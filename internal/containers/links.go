package containers

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containers/netfiles"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
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
	b, ok := reg.entry(id)
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
	if len(r.Links) == 0 || !netfiles.OnDefaultBridge(r.plain(), s) {
		return nil
	}
	for _, l := range r.Links {
		target, ok := n.byID(l.Target)
		switch {
		case !ok: // the link has gone with its target
		case !target.State.Running || target.State.Restarting:
			return model.Errorf(model.Unfit, "Cannot link to a non running container: /%s AS %s", target.Name, r.plain().LinkName(l))
		case !netfiles.OnDefaultBridge(target.plain(), s):
			return model.Errorf(model.Unfit, "Cannot link to /%s, as it does not belong to the default network", target.Name)
		}
	}
	return nil
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
	lines := ms.files.LinkEntries(containerrecord.Record{Name: rec.Name, Sandbox: rec.Sandbox, Links: rec.Links[i : i+1]}, ms.engine.Snapshot(), target)
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
	ms.files.RemoveLines(b, lines, "container.unlink")
	return nil
}
