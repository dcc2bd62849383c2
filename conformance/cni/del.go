package cni

import (
	"fmt"
)

const (
	deletes  = "DEL: delete the interface defined by CNI_IFNAME inside the container at CNI_NETNS, or undo any modifications applied in the plugin's ADD functionality"
	missing  = "Plugins should generally complete a DEL action without error even if some resources are missing."
	multiple = "Plugins MUST accept multiple DEL calls for the same (CNI_CONTAINERID, CNI_IFNAME) pair, and return success if the interface in question, or any modifications added, are missing."
	optional = "DEL: Optional environment parameters: CNI_NETNS, CNI_ARGS, CNI_PATH"
)

// cycles is more often than a network has addresses (Plugin.Config).
const cycles = 15

// delCases are about DEL.
func delCases() []Case {
	return []Case{
		{Name: "del/interface", Level: Must, Spec: deletes, since: "0.3.1", each: true, interfaces: true, play: func(s *stage) error {
			c, _, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			return s.leaves(c.with("prevResult", o.raw()))
		}},
		{Name: "del/without-prev-result", Level: Must, Spec: missing, since: "0.3.1", interfaces: true, play: func(s *stage) error {
			c, _, _, err := s.attached("c1")
			if err != nil {
				return err
			}
			return s.leaves(c)
		}},
		{Name: "del/twice", Level: Must, Spec: multiple, since: "0.3.1", each: true, play: func(s *stage) error {
			c, _, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			if err := s.quiet(c.as("DEL").with("prevResult", o.raw())); err != nil {
				return err
			}
			return s.quiet(c.as("DEL").with("prevResult", o.raw()))
		}},
		{Name: "del/never-added", Level: Must, Spec: multiple, since: "0.3.1", play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			return s.quiet(c.as("DEL"))
		}},
	}
}

// missingCases are about DEL where something is not there any more.
func missingCases() []Case {
	return []Case{
		{Name: "del/interface-missing", Level: Must, Spec: multiple, since: "0.3.1", interfaces: true, play: func(s *stage) error {
			c, _, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			if _, err := ip(s.ctx, "-n", c.name(), "link", "delete", c.ifname); err != nil {
				return err
			}
			return s.quiet(c.as("DEL").with("prevResult", o.raw()))
		}},
		{Name: "del/namespace-missing", Level: Must, Spec: missing, since: "0.3.1", each: true, play: func(s *stage) error {
			c, _, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			if _, err := ip(s.ctx, "netns", "delete", c.name()); err != nil {
				return err
			}
			return s.quiet(c.as("DEL").with("prevResult", o.raw()))
		}},
		{Name: "del/without-namespace", Level: Must, Spec: optional, since: "0.3.1", play: func(s *stage) error {
			c, _, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			if _, err := ip(s.ctx, "netns", "delete", c.name()); err != nil {
				return err
			}
			c.without = []string{"CNI_NETNS"}
			return s.quiet(c.as("DEL").with("prevResult", o.raw()))
		}},
	}
}

// freeCases are about what DEL leaves to others.
func freeCases() []Case {
	return []Case{
		{Name: "del/others-stay", Level: Must, Spec: deletes, since: "0.3.1", interfaces: true, play: func(s *stage) error {
			one, _, _, err := s.attached("c1")
			if err != nil {
				return err
			}
			two, _, _, err := s.attached("c2")
			if err != nil {
				return err
			}
			if err := s.leaves(two); err != nil {
				return err
			}
			_, err = s.link(one)
			return err
		}},
		{Name: "del/other-network-stays", Level: Must, Spec: deletes, since: "0.3.1", interfaces: true, needs: func(p Plugin) bool { return p.Other != nil }, play: func(s *stage) error {
			c, _, _, err := s.attached("c1")
			if err != nil {
				return err
			}
			second := c
			second.ifname, second.other = "eth1", true
			if _, _, err := s.add(second); err != nil {
				return err
			}
			if err := s.leaves(second); err != nil {
				return err
			}
			_, err = s.link(c)
			return err
		}},
		{Name: "del/addresses-are-free", Level: Must, Spec: deletes, since: "0.3.1", play: func(s *stage) error { return s.again(false) }},
		{Name: "del/addresses-are-free-without-namespace", Level: Should, Spec: missing + " An IPAM plugin should generally release an IP allocation and return success even if the container network namespace no longer exists", since: "0.3.1", play: func(s *stage) error { return s.again(true) }},
	}
}

// leaves detaches a container, whose interface must be gone then.
func (s *stage) leaves(c call) error {
	if err := s.quiet(c.as("DEL")); err != nil {
		return err
	}
	all, err := links(s.ctx, c.name())
	if _, still := all[c.ifname]; err == nil && still {
		err = fmt.Errorf("interface %s is still there", c.ifname)
	}
	return err
}

// again attaches and detaches containers more often than there are addresses; lost says
// that their namespaces are gone before.
func (s *stage) again(lost bool) error {
	for i := range cycles {
		c, r, _, err := s.attached(fmt.Sprintf("again-%d", i))
		if err != nil {
			return fmt.Errorf("container %d, after those before have gone: %w", i+1, err)
		}
		if len(r.IPs) == 0 {
			return fmt.Errorf("container %d has no address", i+1)
		}
		if lost {
			if _, err := ip(s.ctx, "netns", "delete", c.name()); err != nil {
				return err
			}
			s.made = s.made[:len(s.made)-1]
		}
		if err := s.quiet(c.as("DEL")); err != nil {
			return err
		}
	}
	return nil
}
