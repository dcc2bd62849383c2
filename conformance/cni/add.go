package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

const (
	creates    = "ADD: create the interface defined by CNI_IFNAME inside the container at CNI_NETNS"
	existing   = "If an interface of the requested name already exists in the container, the CNI plugin MUST return with an error."
	passing    = "If the plugin was supplied a prevResult as part of its input configuration, it MUST handle prevResult by either passing it through, or modifying it appropriately."
	concurrent = "Plugins must handle being executed concurrently across different containers. If necessary, they must implement locking on shared resources (e.g. IPAM databases)."
	twice      = "A given container ID may be added to a specific network more than once only if each addition is done with a different interface name."
)

// addCases are about what ADD does.
func addCases() []Case {
	return []Case{
		{Name: "add/interface", Level: Must, Spec: creates, since: "0.3.1", each: true, interfaces: true, play: func(s *stage) error {
			c, _, _, err := s.attached("c1")
			if err != nil {
				return err
			}
			l, err := s.link(c)
			if err == nil && !slices.Contains(l.Flags, "UP") {
				err = fmt.Errorf("the interface is down: %v", l.Flags)
			}
			return err
		}},
		{Name: "add/interface-exists", Level: Must, Spec: existing, since: "0.3.1", interfaces: true, play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			if err := occupy(s.ctx, c, c.ifname); err != nil {
				return err
			}
			return s.nothingFrom(c.as("ADD"))
		}},
		{Name: "add/works-after-a-refusal", Level: Must, Spec: existing + " A delete must still be executed even if the add fails.", since: "0.3.1", interfaces: true, play: afterRefusal},
		{Name: "add/namespace-missing", Level: Must, Spec: failing, since: "0.3.1", interfaces: true, play: func(s *stage) error {
			_, err := s.refused(call{command: "ADD", container: "c1", namespace: namespaces + "conform-none", ifname: "eth0"})
			return err
		}},
		{Name: "add/namespace-is-none", Level: Must, Spec: failing, since: "0.3.1", interfaces: true, play: func(s *stage) error {
			_, err := s.refused(call{command: "ADD", container: "c1", namespace: "/etc/passwd", ifname: "eth0"})
			return err
		}},
	}
}

// againCases are about ADD of several.
func againCases() []Case {
	return []Case{
		{Name: "add/two-containers", Level: Must, Spec: concurrent, since: "0.3.1", play: func(s *stage) error {
			_, one, _, err := s.attached("c1")
			if err != nil {
				return err
			}
			_, two, _, err := s.attached("c2")
			return errors.Join(err, disjoint(one, two))
		}},
		{Name: "add/eight-at-once", Level: Must, Spec: concurrent, since: "0.3.1", play: atOnce},
		{Name: "add/two-interfaces", Level: Should, Spec: twice, since: "0.3.1", interfaces: true, play: func(s *stage) error {
			c, one, _, err := s.attached("c1")
			if err != nil {
				return err
			}
			c.ifname = "eth1"
			two, _, err := s.add(c)
			return errors.Join(err, disjoint(one, two))
		}},
		{Name: "add/two-networks", Level: Must, Spec: twice, since: "0.3.1", interfaces: true, needs: func(p Plugin) bool { return p.Other != nil }, play: func(s *stage) error {
			c, one, _, err := s.attached("c1")
			if err != nil {
				return err
			}
			c.ifname, c.other = "eth1", true
			two, _, err := s.add(c)
			if err == nil {
				_, err = s.link(c)
			}
			return errors.Join(err, disjoint(one, two))
		}},
	}
}

// chainCases are about ADD behind another plugin, and alone.
func chainCases() []Case {
	return []Case{
		{Name: "add/prev-result", Level: Must, Spec: passing, since: "0.3.1", each: true, interfaces: true, play: prevResult},
		{Name: "add/prev-result-unreadable", Level: Must, Spec: failing + " " + decoding, since: "0.3.1", interfaces: true, play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			return s.nothingFrom(c.as("ADD").with("prevResult", "yesterday"))
		}},
		{Name: "add/without-cni-path", Level: Should, Spec: "ADD: Optional environment parameters: CNI_ARGS, CNI_PATH", since: "0.3.1", needs: func(p Plugin) bool { return len(p.Path) == 0 }, play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			c.without = []string{"CNI_PATH"}
			_, _, err = s.add(c)
			return err
		}},
	}
}

// attached is a container that has been attached.
func (s *stage) attached(id string) (call, result, outcome, error) {
	c, err := s.container(id)
	if err != nil {
		return c, result{}, outcome{}, err
	}
	r, o, err := s.add(c)
	return c, r, o, err
}

// link is the interface that a call is about, in the kernel.
func (s *stage) link(c call) (link, error) {
	all, err := links(s.ctx, c.name())
	if err != nil {
		return link{}, err
	}
	l, ok := all[c.ifname]
	if !ok {
		return l, fmt.Errorf("there is no interface %s", c.ifname)
	}
	return l, nil
}

// afterRefusal: an ADD that failed leaves nothing that is in the way of the next.
func afterRefusal(s *stage) error {
	c, err := s.container("c1")
	if err != nil {
		return err
	}
	if err := occupy(s.ctx, c, c.ifname); err != nil {
		return err
	}
	if err := s.nothingFrom(c.as("ADD")); err != nil {
		return err
	}
	if _, err := ip(s.ctx, "-n", c.name(), "link", "delete", c.ifname); err != nil {
		return err
	}
	if err := s.quiet(c.as("DEL")); err != nil {
		return err
	}
	_, _, err = s.add(c)
	return err
}

// occupy makes an interface of another's in the namespace of a container.
func occupy(ctx context.Context, c call, name string) error {
	_, err := ip(ctx, "-n", c.name(), "link", "add", name, "type", "veth", "peer", "name", "peer0")
	return err
}

// disjoint tells whether two attachments have no address in common.
func disjoint(one, two result) error {
	for _, a := range one.IPs {
		for _, b := range two.IPs {
			if a.Address == b.Address {
				return fmt.Errorf("both have %s", a.Address)
			}
		}
	}
	return nil
}

// atOnce: many containers at the same time.
func atOnce(s *stage) error {
	const many = 8
	var calls []call
	for i := range many {
		c, err := s.container(fmt.Sprintf("c%d", i))
		if err != nil {
			return err
		}
		calls = append(calls, c)
		s.added = append(s.added, c.as("ADD"))
	}
	results, errs := make([]result, many), make([]error, many)
	var all sync.WaitGroup
	for i, c := range calls {
		all.Go(func() {
			o, err := s.p.run(s.ctx, c.as("ADD"))
			if err == nil && o.status != 0 {
				err = fmt.Errorf("ADD fails: %s", o)
			}
			if err == nil {
				results[i], err = o.parse()
			}
			errs[i] = err
		})
	}
	all.Wait()
	for i := range results {
		for j := range i {
			errs = append(errs, disjoint(results[i], results[j]))
		}
	}
	return errors.Join(errs...)
}

// before is what another plugin has done, in the words of a version.
func before(version string) json.RawMessage {
	family := ""
	if saysFamily(version) {
		family = `"version": "4", `
	}
	return json.RawMessage(fmt.Sprintf(`{"cniVersion": %q, "interfaces": [{"name": "before0", "mac": "02:00:00:00:00:01", "sandbox": ""}],
		"ips": [{%s"address": "198.51.100.7/24", "interface": 0}], "routes": [{"dst": "198.51.100.0/24"}], "dns": {"nameservers": ["198.51.100.1"], "search": ["before.example"]}}`, version, family))
}

// prevResult: what plugins before have done is in the result.
func prevResult(s *stage) error {
	c, err := s.container("c1")
	if err != nil {
		return err
	}
	r, o, err := s.add(c.with("prevResult", before(s.version)))
	if err != nil {
		return err
	}
	lost := func(what string) error { return fmt.Errorf("%s of prevResult is lost: %s", what, o) }
	has := func(name string) bool {
		return slices.ContainsFunc(r.Interfaces, func(i resultInterface) bool { return i.Name == name })
	}
	switch {
	case !has("before0"):
		return lost("the interface")
	case !has(c.ifname):
		return fmt.Errorf("its own interface is not in the result: %s", o)
	case !strings.Contains(string(o.stdout), "198.51.100.7/24"):
		return lost("the address")
	case !strings.Contains(string(o.stdout), "198.51.100.0/24"):
		return lost("the route")
	case !slices.Contains(r.DNS.Search, "before.example"):
		return lost("the search domain")
	}
	for _, one := range r.IPs {
		if one.Address == "198.51.100.7/24" && (one.Interface == nil || r.Interfaces[*one.Interface].Name != "before0") {
			return fmt.Errorf("the address of prevResult is another interface's: %s", o)
		}
	}
	return nil
}

// prefix reads an address with its length.
func prefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is no address with the length of its network: %w", s, err)
	}
	return p, nil
}
