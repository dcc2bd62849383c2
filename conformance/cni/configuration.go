package cni

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const (
	failing   = "A plugin must exit with a return code of 0 on success, and non-zero on failure. If the plugin encounters an error, it should output an \"error\" result structure"
	decoding  = "Error code 6: Failed to decode content. For example, failed to unmarshal network config from bytes or failed to decode version info from string."
	invalid   = "Error code 7: Invalid network config. If some validations on network configs do not pass, this error will be raised."
	naming    = "name: Must start with an alphanumeric character, optionally followed by any combination of one or more alphanumeric characters, underscore, dot (.) or hyphen (-). Must not contain characters disallowed in file paths."
	speaking  = "Error code 1: Incompatible CNI version"
	errorKeys = "Plugins should output a JSON object with the following keys if they encounter an error: cniVersion: The protocol version in use, code, msg, details"
)

// badConfigurationCases are about what cannot be read on stdin, or is not valid.
func badConfigurationCases() []Case {
	var out []Case
	for _, bad := range []struct{ what, stdin string }{
		{"empty", ""}, {"words", "not JSON"}, {"half", `{"cniVersion": "1.0.0", "name": "confo`}, {"list", `[]`}, {"string", `"conform"`}, {"wrong-type", `{"cniVersion": "1.0.0", "name": 7}`},
	} {
		out = append(out, Case{Name: "configuration/" + bad.what, Level: Must, Spec: failing + " " + decoding, since: "0.3.1", play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			c.stdin = &bad.stdin
			_, err = s.coded(c.as("ADD"), codeVersion, codeIO, codeDecoding, codeConfiguration) // which it is, is the plugin's to say
			return err
		}})
	}
	for _, bad := range []struct {
		what string
		name any
	}{{"no-name", nil}, {"empty-name", ""}, {"name-hyphen-first", "-net"}, {"name-up", "../net"}, {"name-slash", "a/b"}, {"name-space", "a b"}} {
		out = append(out, Case{Name: "configuration/" + bad.what, Level: Must, Spec: naming + " " + invalid, since: "0.3.1", play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			_, err = s.coded(c.as("ADD").with("name", bad.name), codeConfiguration)
			return err
		}})
	}
	for _, bad := range []struct {
		what, version string
		codes         []uint
	}{{"later-version", "99.0.0", []uint{codeVersion}}, {"no-version", "two", []uint{codeVersion, codeDecoding}}} {
		out = append(out, Case{Name: "configuration/" + bad.what, Level: Must, Spec: speaking, since: "0.3.1", play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			c.version = bad.version
			_, err = s.coded(c.as("ADD"), bad.codes...)
			return err
		}})
	}
	return out
}

// configurationCases are about what errors say, and what is to be ignored on stdin.
func configurationCases() []Case {
	return []Case{
		{Name: "configuration/error-version", Level: Should, Spec: errorKeys, since: "0.3.1", each: true, interfaces: true, play: errorVersion},
		{Name: "configuration/error-code", Level: Must, Spec: "Error codes 0-99 are reserved for well-known errors. Values of 100+ can be freely used for plugin specific errors.", since: "0.3.1", interfaces: true, play: errorCode},
		{Name: "configuration/args-unknown", Level: Must, Spec: "args: Runtimes can place additional data in args and plugins that don't understand that data should just ignore it (CONVENTIONS.md)", since: "0.3.1", play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			_, _, err = s.add(c.with("args", map[string]map[string]string{"org.example": {"color": "blue"}}))
			return err
		}},
		{Name: "configuration/cni-args-unknown", Level: Should, Spec: "CNI_ARGS: Extra arguments passed in by the user at invocation time (IgnoreUnknown=1: CONVENTIONS.md)", since: "0.3.1", play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			c.args = "IgnoreUnknown=1;COLOR=blue"
			_, _, err = s.add(c)
			return err
		}},
		{Name: "configuration/reserved-key", Level: Should, Spec: "Reserved keys, used by the protocol: Any keys starting with cni.dev/", since: "1.1.0", play: func(s *stage) error {
			c, err := s.container("c1")
			if err != nil {
				return err
			}
			_, _, err = s.add(c.with("cni.dev/later", true))
			return err
		}},
	}
}

// errorVersion: an error says the version that was spoken.
func errorVersion(s *stage) error {
	r, err := s.refused(call{command: "ADD", container: "c1", namespace: namespaces + "conform-none", ifname: "eth0"})
	if err == nil && (r.CNIVersion == nil || *r.CNIVersion != s.version) {
		err = fmt.Errorf("cniVersion of the error is %s, want %q", text(r.CNIVersion), s.version)
	}
	return err
}

// errorCode: a code below 100 is one that the specification knows.
func errorCode(s *stage) error {
	r, err := s.refused(call{command: "ADD", container: "c1", namespace: namespaces + "conform-none", ifname: "eth0"})
	if err != nil {
		return err
	}
	if known := []uint{1, 2, 3, 4, 5, 6, 7, 11, 50, 51}; *r.Code <= codeReserved && *r.Code != 0 && !slices.Contains(known, *r.Code) {
		err = fmt.Errorf("the specification knows no code %d", *r.Code)
	}
	if *r.Code == codeContainer && !strings.Contains(r.Msg+r.Details, "conform-none") {
		err = fmt.Errorf("the message does not say which container is unknown: %s: %s", r.Msg, r.Details)
	}
	return err
}

// raw is a result as it was printed, for prevResult.
func (o outcome) raw() json.RawMessage { return json.RawMessage(o.stdout) }
