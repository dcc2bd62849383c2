package cni

import (
	"encoding/json"
	"fmt"
)

const (
	consults = "CHECK: The plugin must consult prevResult to determine the expected interfaces and addresses."
	allows   = "The plugin must allow for a later chained plugin to have modified networking resources, e.g. routes, on ADD."
	invalids = "The plugin should return an error if a resource included in the CNI Result type (interface, address or route) was created by the plugin, and is listed in prevResult, but is missing or in an invalid state."
	at1      = "CHECK came with version 0.4.0"
)

// checkCases are about CHECK.
func checkCases() []Case {
	return []Case{
		{Name: "check/after-add", Level: Must, Spec: "The plugin must handle CHECK being called immediately after an ADD.", since: "0.4.0", each: true, play: func(s *stage) error {
			c, _, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			return s.quiet(c.as("CHECK").with("prevResult", o.raw()))
		}},
		{Name: "check/again", Level: Must, Spec: consults, since: "0.4.0", play: func(s *stage) error {
			c, _, o, err := s.attached("c1")
			for range 3 {
				if err == nil {
					err = s.quiet(c.as("CHECK").with("prevResult", o.raw()))
				}
			}
			return err
		}},
		{Name: "check/without-prev-result", Level: Must, Spec: consults, since: "0.4.0", interfaces: true, play: func(s *stage) error {
			c, _, _, err := s.attached("c1")
			if err != nil {
				return err
			}
			_, err = s.refused(c.as("CHECK"))
			return err
		}},
		{Name: "check/before-its-version", Level: Must, Spec: at1 + ". " + speaking, since: "0.3.1", play: func(s *stage) error {
			s.version = "0.3.1"
			c, _, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			_, err = s.coded(c.as("CHECK").with("prevResult", o.raw()), codeVersion)
			return err
		}},
		{Name: "check/others-work-stays", Level: Must, Spec: allows, since: "0.4.0", interfaces: true, play: func(s *stage) error {
			c, _, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			if err := occupy(s.ctx, c, "later0"); err != nil {
				return err
			}
			for _, args := range [][]string{
				{"link", "set", "peer0", "up"}, {"link", "set", "later0", "up"},
				{"address", "add", "203.0.113.7/24", "dev", "later0"}, {"route", "add", "198.51.100.0/24", "dev", "later0"},
			} {
				if _, err := ip(s.ctx, append([]string{"-n", c.name()}, args...)...); err != nil {
					return err
				}
			}
			return s.quiet(c.as("CHECK").with("prevResult", o.raw()))
		}},
		{Name: "check/others-in-prev-result", Level: Must, Spec: consults, since: "0.4.0", interfaces: true, play: othersInResult},
	}
}

// lossCases are about CHECK after something was lost.
func lossCases() []Case {
	var out []Case
	for _, loss := range []struct {
		what string
		ip   func(c call, r result) []string
	}{
		{"interface-lost", func(c call, _ result) []string { return []string{"link", "delete", c.ifname} }},
		{"address-lost", func(c call, _ result) []string { return []string{"address", "flush", "dev", c.ifname} }},
		{"interface-renamed", func(c call, _ result) []string { return []string{"link", "set", c.ifname, "down", "name", "other0"} }},
		{"another-address", func(c call, r result) []string {
			return []string{"address", "delete", r.IPs[0].Address, "dev", c.ifname}
		}},
	} {
		out = append(out, Case{Name: "check/" + loss.what, Level: Should, Spec: invalids, since: "0.4.0", interfaces: true, play: func(s *stage) error {
			c, r, o, err := s.attached("c1")
			if err != nil {
				return err
			}
			if len(r.IPs) == 0 {
				return fmt.Errorf("the result has no address: %s", o)
			}
			if _, err := ip(s.ctx, append([]string{"-n", c.name()}, loss.ip(c, r)...)...); err != nil {
				return err
			}
			return s.lost(c, r, o)
		}})
	}
	return out
}

// lost calls CHECK after a loss: it fails, unless the plugin has mended it meanwhile.
func (s *stage) lost(c call, r result, o outcome) error {
	got, err := s.run(c.as("CHECK").with("prevResult", o.raw()))
	if err != nil || got.status != 0 {
		return err
	}
	all, err := links(s.ctx, c.name())
	if err != nil {
		return err
	}
	for _, one := range r.IPs {
		if p, err := prefix(one.Address); err != nil || !all[c.ifname].has(p) {
			return fmt.Errorf("CHECK succeeds, and %s is not on %s", one.Address, c.ifname)
		}
	}
	return nil
}

// othersInResult: another plugin's interface and address in prevResult are not this one's.
func othersInResult(s *stage) error {
	c, _, o, err := s.attached("c1")
	if err != nil {
		return err
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(o.stdout, &whole); err != nil {
		return err
	}
	var interfaces []json.RawMessage
	if err := json.Unmarshal(whole["interfaces"], &interfaces); err != nil {
		return err
	}
	whole["interfaces"] = jsonOf(append(interfaces, jsonOf(map[string]string{"name": "later0", "mac": "02:00:00:00:00:02", "sandbox": c.namespace})))
	return s.quiet(c.as("CHECK").with("prevResult", whole))
}
