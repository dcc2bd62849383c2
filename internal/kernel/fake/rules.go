package fake

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/linkspan/linkspan/internal/desired"
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
	case desired.Sysctl:
		return k.admitSysctl(r)
	case desired.Route:
		if err := k.needLink(r.Namespace, r.Link); err != nil {
			return err
		}
		if r.Gateway.IsValid() && !k.reachable(r) {
			return fmt.Errorf("nexthop has invalid gateway: %w", syscall.ENETUNREACH)
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
	if r.Peer == nil {
		return nil
	}
	if err := k.needNamespace(r.Peer.Namespace); err != nil {
		return fmt.Errorf("peer: %w", err)
	}
	if other, taken := k.linkIn(r.Peer.Namespace, r.Peer.Name); taken && other.Key() != r.Key() {
		return fmt.Errorf("peer %s: %w", r.Peer.Name, syscall.EEXIST)
	}
	return nil
}

// admitSysctl: a setting of an interface needs the interface.
func (k *Kernel) admitSysctl(r desired.Sysctl) error {
	if err := k.needNamespace(r.Namespace); err != nil {
		return err
	}
	parts := strings.Split(r.Path, "/")
	if len(parts) == 5 && parts[2] == "conf" && parts[3] != "all" && parts[3] != "default" {
		return k.needLink(r.Namespace, parts[3])
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
	if o, there := k.objects[desired.Link{Namespace: namespace, Name: name}.Key()]; there {
		return o.(desired.Link), true
	}
	for _, o := range k.objects {
		if l, ok := o.(desired.Link); ok && l.Peer != nil && l.Peer.Namespace == namespace && l.Peer.Name == name {
			return l, true
		}
	}
	return desired.Link{}, false
}

// reachable tells whether a route's gateway is on a subnet of its link.
func (k *Kernel) reachable(r desired.Route) bool {
	for _, o := range k.objects {
		if a, ok := o.(desired.Addr); ok && a.Namespace == r.Namespace && a.Link == r.Link &&
			netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Bits()).Masked().Contains(r.Gateway) {
			return true
		}
	}
	return false
}

// drop removes an object and what hangs on it.
func (k *Kernel) drop(key desired.Key) {
	gone, there := k.objects[key]
	if !there {
		return
	}
	delete(k.objects, key)
	for other, o := range k.objects {
		if hangsOn(o, gone) {
			k.drop(other)
		}
	}
}

// hangsOn tells whether the kernel removes o together with gone.
func hangsOn(o, gone desired.Row) bool {
	switch gone := gone.(type) {
	case desired.Namespace:
		return inNamespace(o, gone.Name)
	case desired.Link:
		if onLink(o, gone.Namespace, gone.Name) {
			return true
		}
		return gone.Peer != nil && onLink(o, gone.Peer.Namespace, gone.Peer.Name)
	case desired.Addr:
		r, ok := o.(desired.Route)
		return ok && r.Namespace == gone.Namespace && r.Link == gone.Link && gone.Prefix.Masked().Contains(r.Gateway)
	}
	return false
}

func inNamespace(o desired.Row, name string) bool {
	switch o := o.(type) {
	case desired.Link:
		return o.Namespace == name || o.Peer != nil && o.Peer.Namespace == name
	case desired.Addr:
		return o.Namespace == name
	case desired.Route:
		return o.Namespace == name
	case desired.Neigh:
		return o.Namespace == name
	case desired.Sysctl:
		return o.Namespace == name
	}
	return false
}

func onLink(o desired.Row, namespace, link string) bool {
	switch o := o.(type) {
	case desired.Addr:
		return o.Namespace == namespace && o.Link == link
	case desired.Route:
		return o.Namespace == namespace && o.Link == link
	case desired.Neigh:
		return o.Namespace == namespace && o.Link == link
	case desired.Sysctl:
		return o.Namespace == namespace && strings.Contains(o.Path, "/conf/"+link+"/")
	}
	return false
}
