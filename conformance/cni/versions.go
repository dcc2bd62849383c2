package cni

import (
	"fmt"
	"slices"
)

// versionCases are about VERSION.
func versionCases() []Case {
	const (
		supported = "Plugins must output a JSON object with the following keys upon a VERSION operation: cniVersion, supportedVersions"
		echo      = "cniVersion: The value of cniVersion specified on input"
		alone     = "VERSION: Required environment parameters: CNI_COMMAND"
	)
	return []Case{
		{Name: "version/supported", Level: Must, Spec: supported, since: "0.3.1", play: func(s *stage) error {
			r, err := s.ask(s.version, nil)
			if err == nil && (r.CNIVersion == nil || !slices.Contains(r.SupportedVersions, s.version)) {
				err = fmt.Errorf("it says %v", r.SupportedVersions)
			}
			return err
		}},
		{Name: "version/echo", Level: Must, Spec: echo, since: "0.3.1", each: true, play: func(s *stage) error { return s.echoed(s.version) }},
		{Name: "version/echo-of-the-unknown", Level: Must, Spec: echo, since: "0.3.1", play: func(s *stage) error { return s.echoed("99.0.0") }},
		{Name: "version/without-path", Level: Must, Spec: alone, since: "0.3.1", play: func(s *stage) error {
			_, err := s.ask(s.version, []string{"CNI_PATH"})
			return err
		}},
	}
}

// ask calls VERSION.
func (s *stage) ask(version string, without []string) (result, error) {
	stdin := fmt.Sprintf(`{"cniVersion": %q}`, version)
	o, err := s.good(call{command: "VERSION", stdin: &stdin, without: without})
	if err != nil {
		return result{}, err
	}
	return o.parse()
}

func (s *stage) echoed(version string) error {
	r, err := s.ask(version, nil)
	if err == nil && (r.CNIVersion == nil || *r.CNIVersion != version) {
		err = fmt.Errorf("cniVersion is %s, want %q", text(r.CNIVersion), version)
	}
	return err
}

// text is what a key that may be missing says.
func text(s *string) string {
	if s == nil {
		return "missing"
	}
	return fmt.Sprintf("%q", *s)
}
