package cni

import (
	"fmt"
)

const (
	ready  = "STATUS: A plugin must exit with a zero (success) return code if the plugin is ready to service ADD requests."
	late   = "STATUS and GC came with version 1.1.0"
	valid  = "GC: specify the expected set of attachments to a network. The network plugin may then remove any resources related to attachments that do not exist in this set."
	stale  = "A plugin SHOULD remove as many stale resources as possible. For example, a plugin should remove any IPAM reservations associated with attachments not in the provided list."
	silent = "GC: No output on success"
	// validAttachments is the key by which a runtime says what is in use.
	validAttachments = "cni.dev/valid-attachments"
)

// attachment is how a runtime names what is in use.
type attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// statusCases are about STATUS.
func statusCases() []Case {
	return []Case{
		{Name: "status/ready", Level: Must, Spec: ready, since: "1.1.0", play: func(s *stage) error { return s.quiet(call{command: "STATUS"}) }},
		{Name: "status/after-add", Level: Must, Spec: ready, since: "1.1.0", play: func(s *stage) error {
			if _, _, _, err := s.attached("c1"); err != nil {
				return err
			}
			return s.quiet(call{command: "STATUS"})
		}},
		{Name: "status/without-path", Level: Must, Spec: "STATUS: Optional environment parameters: CNI_PATH", since: "1.1.0", needs: func(p Plugin) bool { return len(p.Path) == 0 }, play: func(s *stage) error {
			return s.quiet(call{command: "STATUS", without: []string{"CNI_PATH"}})
		}},
		{Name: "status/before-its-version", Level: Must, Spec: late + ". " + speaking, since: "1.1.0", play: func(s *stage) error {
			_, err := s.coded(call{command: "STATUS", version: "1.0.0"}, codeVersion)
			return err
		}},
		{Name: "status/unready", Level: Must, Spec: "If the plugin knows that it is not able to service ADD requests, it must exit with a non-zero return code and output an error on standard out. Codes 50, 51", since: "1.1.0", needs: func(p Plugin) bool { return p.Unready != nil }, play: func(s *stage) error {
			_, err := s.coded(call{command: "STATUS", unready: true}, 50, 51)
			return err
		}},
		{Name: "status/del-all-the-same", Level: Must, Spec: "Plugins should always expect other CNI operations (like ADD, DEL, etc) even if STATUS returns an error.", since: "1.1.0", needs: func(p Plugin) bool { return p.Unready != nil }, play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			c.unready = true
			return s.quiet(c.as("DEL"))
		}},
	}
}

// collectCases are about GC.
func collectCases() []Case {
	return []Case{
		{Name: "gc/in-use-stays", Level: Must, Spec: valid, since: "1.1.0", play: func(s *stage) error {
			c, _, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			if err := s.collect(c); err != nil {
				return err
			}
			return s.quiet(c.as("CHECK").with("prevResult", o.raw()))
		}},
		{Name: "gc/stale-addresses", Level: Should, Spec: stale, since: "1.1.0", play: staleAddresses},
		{Name: "gc/some-of-them", Level: Should, Spec: stale, since: "1.1.0", play: func(s *stage) error {
			one, _, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			two, _, _, err := s.attached("c2")
			if err != nil {
				return err
			}
			if _, err := ip(s.ctx, "netns", "delete", two.name()); err != nil {
				return err
			}
			if err := s.collect(one); err != nil {
				return err
			}
			return s.quiet(one.as("CHECK").with("prevResult", o.raw()))
		}},
		{Name: "gc/del-afterwards", Level: Must, Spec: multiple, since: "1.1.0", play: func(s *stage) error {
			c, _, _, err := s.attached("c1")
			if err != nil {
				return err
			}
			if _, err := ip(s.ctx, "netns", "delete", c.name()); err != nil {
				return err
			}
			if err := s.collect(); err != nil {
				return err
			}
			return s.quiet(c.as("DEL"))
		}},
		{Name: "gc/nothing-there", Level: Must, Spec: silent, since: "1.1.0", play: func(s *stage) error { return s.collect() }},
		{Name: "gc/unknown-attachments", Level: Must, Spec: valid, since: "1.1.0", play: func(s *stage) error {
			return s.collect(call{container: "never-seen", ifname: "eth7"})
		}},
		{Name: "gc/other-network-stays", Level: Must, Spec: valid, since: "1.1.0", interfaces: true, needs: func(p Plugin) bool { return p.Other != nil }, play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			c.other = true
			_, o, err := s.add(c)
			if err != nil {
				return err
			}
			if err := s.collect(); err != nil { // of the first
				return err
			}
			return s.quiet(c.as("CHECK").with("prevResult", o.raw()))
		}},
		{Name: "gc/before-its-version", Level: Must, Spec: late + ". " + speaking, since: "1.1.0", play: func(s *stage) error {
			_, err := s.coded(call{command: "GC", version: "1.0.0"}.with(validAttachments, []attachment{}), codeVersion)
			return err
		}},
	}
}

// collect calls GC, with these in use.
func (s *stage) collect(used ...call) error {
	list := []attachment{}
	for _, c := range used {
		list = append(list, attachment{c.container, c.ifname})
	}
	return s.quiet(call{command: "GC"}.with(validAttachments, list))
}

// staleAddresses: containers vanish without DEL, and GC frees what they had.
func staleAddresses(s *stage) error {
	for i := range cycles {
		c, r, _, err := s.attached(fmt.Sprintf("stale-%d", i))
		if err != nil {
			return fmt.Errorf("container %d, after those before were collected: %w", i+1, err)
		}
		if len(r.IPs) == 0 {
			return fmt.Errorf("container %d has no address", i+1)
		}
		if _, err := ip(s.ctx, "netns", "delete", c.name()); err != nil {
			return err
		}
		s.made = s.made[:len(s.made)-1]
		if err := s.collect(); err != nil {
			return err
		}
	}
	return nil
}
