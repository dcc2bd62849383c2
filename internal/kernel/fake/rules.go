package fake

import (
	"fmt"
	"maps"
	"strings"
	"syscall"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// admit enforces what the kernel would: whatever a row refers to must exist.
func (k *Kernel) admit(r desired.Row) error {
	switch r := r.(type) {
	case desired.Link:
		return k.admitLink(r)
	case desired.Addr:
		return k.needLink(r.Namespace, r.Link)
	case desired.Neigh:
		return k.needLink(r.Namespace, r.Link)
	case desired.FDB:
		return k.needLink(r.Namespace, r.Link)
	case desired.Sysctl:
		return k.admitSysctl(r)
	case desired.Fence:
		return k.needLink(desired.HostNamespace, r.Link)
	case desired.Uplink:
		return k.admitUplink(r)
	case desired.Route:
		if err := k.needLink(r.Namespace, r.Link); err != nil {
			return err
		}
		if r.Gateway.IsValid() && r.Table == 0 && !k.reachable(r) {
			return fmt.Errorf("nexthop has invalid gateway: %w", syscall.ENETUNREACH)
		}
	case desired.Balance, desired.Hairpin, desired.Lookup, desired.IngressGuard, desired.IngressNode, desired.IngressSource, desired.IngressTarget:
		return k.needNamespace(r.Space())
	case desired.Namespace, desired.Loopback, desired.Rule:
	default:
		if r.Key().Kind != desired.KindPolicy {
			return model.Errorf(model.NotImplemented, "the fake kernel does not know %q", r)
		}
	}
	return nil
}

func (k *Kernel) admitLink(r desired.Link) error {
	if err := k.needNamespace(r.Namespace); err != nil {
		return err
	}
	if r.Master != "" {
		if err := k.needLink(r.Namespace, r.Master); err != nil {
			return fmt.Errorf("master: %w", err)
		}
	}
	if err := k.needNamespace(r.Home()); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	if r.OnParent() {
		return k.admitOnParent(r)
	}
	if r.Peer == nil {
		return nil
	}
	if err := k.needNamespace(r.Peer.Namespace); err != nil {
		return fmt.Errorf("peer: %w", err)
	}
	return k.nameIsFree(r, r.Peer.Namespace, r.Peer.Name)
}

// admitOnParent: what hangs on a parent needs it, and no two there have one MAC address.
// The host's own interfaces are there unless they were taken away.
func (k *Kernel) admitOnParent(r desired.Link) error {
	if k.away[r.Parent.Name] {
		return model.Errorf(model.Unfit, "the requested parent interface %s was not found on the Docker host", r.Parent.Name)
	}
	for key := range k.hung[place{desired.HostNamespace, r.Parent.Name}] {
		if other, ok := k.objects[key].(desired.Link); ok && other.OnParent() && other.MAC == r.MAC && r.MAC != "" && key != r.Key() {
			return fmt.Errorf("MAC address %s: %w", r.MAC, syscall.EBUSY)
		}
	}
	return k.nameIsFree(r, r.Namespace, r.Name)
}

// admitUplink: it needs its bridge, and its interface, which is the host's own and there
// unless it was taken away.
func (k *Kernel) admitUplink(r desired.Uplink) error {
	if k.away[r.Link] {
		return model.Errorf(model.Conflict, "uplink interface %s was not found on the host", r.Link)
	}
	return k.needLink(desired.HostNamespace, r.Bridge)
}

func (k *Kernel) nameIsFree(r desired.Link, namespace, name string) error {
	other, taken := k.linkIn(namespace, name)
	if taken && other.Key() != r.Key() || k.foreign[place{namespace, name}] {
		return &desired.NameTaken{Namespace: namespace, Link: r.Name, Name: name}
	}
	return nil
}

// admitSysctl: a setting of an interface needs the interface.
func (k *Kernel) admitSysctl(r desired.Sysctl) error {
	if err := k.needNamespace(r.Namespace); err != nil {
		return err
	}
	if name := interfaceOf(r); name != "" {
		return k.needLink(r.Namespace, name)
	}
	return nil
}

func (k *Kernel) needNamespace(name string) error {
	if name == desired.HostNamespace {
		return nil
	}
	if _, there := k.objects[desired.Namespace{Name: name}.Key()]; !there {
		return fmt.Errorf("namespace %s: %w", name, syscall.ENOENT)
	}
	return nil
}

func (k *Kernel) needLink(namespace, name string) error {
	if _, there := k.linkIn(namespace, name); !there {
		return fmt.Errorf("link %s: %w", name, syscall.ENODEV)
	}
	return nil
}

// linkIn finds a link by where it is, be it an end of a pair or not.
func (k *Kernel) linkIn(namespace, name string) (desired.Link, bool) {
	l, there := k.ends[place{namespace, name}]
	return l, there
}

// reachable tells whether a route's gateway is on a subnet of its link.
func (k *Kernel) reachable(r desired.Route) bool {
	for key := range k.hung[place{r.Namespace, r.Link}] {
		switch o := k.objects[key].(type) {
		case desired.Addr:
			if o.Prefix.Masked().Contains(r.Gateway) {
				return true
			}
		case desired.Route:
			if !o.Gateway.IsValid() && o.Destination.Contains(r.Gateway) {
				return true
			}
		}
	}
	return false
}

// place is where something can hang: a link, or with an empty name a namespace.
type place struct{ namespace, link string }

// keep stores an object and notes what it hangs on.
func (k *Kernel) keep(r desired.Row) {
	if k.objects == nil {
		k.objects, k.hung, k.ends = map[desired.Key]desired.Row{}, map[place]map[desired.Key]bool{}, map[place]desired.Link{}
	}
	key := r.Key()
	if old, there := k.objects[key]; there {
		k.forget(old)
	}
	k.objects[key] = r
	for _, p := range hangsOn(r) {
		if k.hung[p] == nil {
			k.hung[p] = map[desired.Key]bool{}
		}
		k.hung[p][key] = true
	}
	for _, p := range endsOf(r) {
		k.ends[p] = r.(desired.Link)
	}
}

// forget takes an object out, and leaves what hangs on it.
func (k *Kernel) forget(r desired.Row) {
	key := r.Key()
	delete(k.objects, key)
	for _, p := range hangsOn(r) {
		if delete(k.hung[p], key); len(k.hung[p]) == 0 {
			delete(k.hung, p)
		}
	}
	for _, p := range endsOf(r) {
		delete(k.ends, p)
	}
}

// drop removes an object and what hangs on it.
func (k *Kernel) drop(key desired.Key) {
	gone, there := k.objects[key]
	if !there {
		return
	}
	k.forget(gone)
	switch gone := gone.(type) {
	case desired.Namespace:
		k.dropAll(place{gone.Name, ""}, func(desired.Row) bool { return true })
	case desired.Link:
		for _, p := range endsOf(gone) {
			k.dropAll(p, func(desired.Row) bool { return true })
		}
	case desired.Addr:
		k.dropAll(place{gone.Namespace, gone.Link}, func(o desired.Row) bool {
			r, ok := o.(desired.Route)
			return ok && gone.Prefix.Masked().Contains(r.Gateway)
		})
	}
}

func (k *Kernel) dropAll(p place, which func(desired.Row) bool) {
	for key := range maps.Clone(k.hung[p]) {
		if o, there := k.objects[key]; there && which(o) {
			k.drop(key)
		}
	}
}

// endsOf returns where a link can be found.
func endsOf(r desired.Row) []place {
	l, ok := r.(desired.Link)
	if !ok {
		return nil
	}
	out := []place{{l.Namespace, l.Name}}
	if l.Peer != nil {
		out = append(out, place{l.Peer.Namespace, l.Peer.Name})
	}
	return out
}

// hangsOn returns what an object vanishes with.
func hangsOn(r desired.Row) []place {
	switch r := r.(type) {
	case desired.Link:
		out := []place{{r.Namespace, ""}}
		if r.Peer != nil {
			out = append(out, place{r.Peer.Namespace, ""})
		}
		if r.Parent != nil {
			out = append(out, place{desired.HostNamespace, r.Parent.Name})
		}
		if r.VXLAN != nil && r.Home() != desired.HostNamespace { // it ends with the namespace by which its packets leave
			out = append(out, place{r.Home(), ""})
		}
		return out
	case desired.Addr:
		return []place{{r.Namespace, r.Link}}
	case desired.Route:
		return []place{{r.Namespace, r.Link}}
	case desired.Neigh:
		return []place{{r.Namespace, r.Link}}
	case desired.FDB:
		return []place{{r.Namespace, r.Link}}
	case desired.Fence:
		return []place{{desired.HostNamespace, r.Link}}
	case desired.Balance, desired.Hairpin:
		return []place{{r.Space(), ""}}
	case desired.Uplink:
		return []place{{desired.HostNamespace, r.Link}, {desired.HostNamespace, r.Bridge}}
	case desired.Sysctl:
		return []place{{r.Namespace, ""}, {r.Namespace, interfaceOf(r)}}
	}
	return nil
}

// interfaceOf returns the interface that a setting belongs to; empty if it is
// the namespace's.
func interfaceOf(r desired.Sysctl) string {
	parts := strings.Split(r.Path, "/")
	if len(parts) == 5 && parts[2] == "conf" && parts[3] != "all" && parts[3] != "default" {
		return parts[3]
	}
	return ""
}
