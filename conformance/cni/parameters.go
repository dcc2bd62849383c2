package cni

import (
	"fmt"
	"strings"
)

const (
	badParameter = "Error code 4: Invalid necessary environment variables, like CNI_COMMAND, CNI_CONTAINERID, etc. The error message must contain the names of invalid variables."
	containerID  = "CNI_CONTAINERID: Must not be empty. Must start with an alphanumeric character, optionally followed by any combination of one or more alphanumeric characters, underscore (_), dot (.) or hyphen (-)."
	interfaceID  = "CNI_IFNAME: Name of the interface to create inside the container; if the plugin is unable to use this interface name it must return an error."
)

// Codes of errors that the specification has.
const (
	codeVersion       = 1
	codeContainer     = 3
	codeEnvironment   = 4
	codeIO            = 5
	codeDecoding      = 6
	codeConfiguration = 7
	codeReserved      = 99 // the last of them
)

// parameterCases are about the environment.
func parameterCases() []Case {
	out := []Case{{Name: "parameters/unknown-command", Level: Must, Spec: badParameter, since: "0.3.1", play: func(s *stage) error {
		return s.blamed(call{command: "FETCH", container: "c1", namespace: namespaces + "conform0", ifname: "eth0"}, "CNI_COMMAND")
	}}}
	required := []string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}
	for _, of := range []struct {
		command, since string
		required       []string
	}{{"ADD", "0.3.1", required}, {"DEL", "0.3.1", []string{"CNI_CONTAINERID", "CNI_IFNAME"}}, {"CHECK", "0.4.0", required}} {
		for _, name := range of.required {
			out = append(out, Case{
				Name: fmt.Sprintf("parameters/%s-without-%s", strings.ToLower(of.command), name), Level: Must,
				Spec: of.command + ": Required environment parameters: " + strings.Join(of.required, ", ") + ". " + badParameter, since: of.since,
				play: func(s *stage) error {
					c, err := s.container("c1")
					if err != nil {
						return err
					}
					c.without = []string{name}
					return s.blamed(c.as(of.command), name)
				},
			})
		}
	}
	return out
}

// blamed calls the plugin, which must refuse it for a parameter.
func (s *stage) blamed(c call, parameter string) error {
	r, err := s.coded(c, codeEnvironment)
	if err == nil && !strings.Contains(r.Msg+r.Details, parameter) {
		err = fmt.Errorf("the message does not name %s: %s: %s", parameter, r.Msg, r.Details)
	}
	return err
}

// nameCases are about names of containers and interfaces.
func nameCases() []Case {
	var out []Case
	for _, bad := range []struct{ what, id string }{
		{"hyphen-first", "-c1"}, {"dot-first", ".c1"}, {"underscore-first", "_c1"}, {"slash", "a/b"}, {"up", "../c1"}, {"space", "a b"}, {"line", "a\nb"}, {"semicolon", "a;b"}, {"accent", "é1"},
	} {
		out = append(out, Case{Name: "parameters/container-id-" + bad.what, Level: Must, Spec: containerID + " " + badParameter, since: "0.3.1", play: func(s *stage) error {
			c, err := s.container(bad.id)
			if err != nil {
				return err
			}
			return s.blamed(c.as("ADD"), "CNI_CONTAINERID")
		}})
	}
	for _, bad := range []struct{ what, ifname string }{
		{"long", "sixteen-letters1"}, {"slash", "a/b"}, {"space", "a b"}, {"dot", "."}, {"dots", ".."}, {"colon", "a:b"}, {"tab", "a\tb"},
	} {
		out = append(out, Case{Name: "parameters/ifname-" + bad.what, Level: Must, Spec: interfaceID, since: "0.3.1", interfaces: true, play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			c.ifname = bad.ifname
			return s.nothingFrom(c.as("ADD"))
		}})
	}
	for _, good := range []struct{ what, id, ifname string }{
		{"container-id-of-64", strings.Repeat("0123456789abcdef", 4), "eth0"}, {"container-id-of-one", "7", "eth0"}, {"container-id-with-all", "A1_b.c-D", "eth0"},
		{"ifname-of-15", "c1", "fifteen.letter5"}, {"ifname-of-one", "c1", "x"},
	} {
		out = append(out, Case{Name: "parameters/" + good.what, Level: Must, Spec: containerID + " " + interfaceID, since: "0.3.1", play: func(s *stage) error {
			c, err := s.container(good.id)
			if err != nil {
				return err
			}
			c.ifname = good.ifname
			_, _, err = s.add(c)
			return err
		}})
	}
	return out
}

// nothingFrom calls the plugin, which must refuse it and leave the namespace as it was.
func (s *stage) nothingFrom(c call) error {
	before, err := links(s.ctx, c.name())
	if err != nil {
		return err
	}
	if _, err := s.refused(c); err != nil {
		return err
	}
	after, err := links(s.ctx, c.name())
	if err == nil && len(after) != len(before) {
		err = fmt.Errorf("it failed, and there are %d interfaces instead of %d", len(after), len(before))
	}
	return err
}
