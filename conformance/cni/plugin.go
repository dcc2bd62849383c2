package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Plugin is what is checked.
type Plugin struct {
	// Name is for the report.
	Name string `json:"name"`
	// Binary is the path of the plugin, Path the folders of those that it delegates to.
	Binary string   `json:"binary"`
	Path   []string `json:"path,omitempty"`
	// Config is the plugin's part of a network configuration, without cniVersion and name,
	// for a network with fewer than 15 free addresses. Other is that of a second network.
	Config map[string]json.RawMessage `json:"config"`
	Other  map[string]json.RawMessage `json:"other,omitempty"`
	// IPAM says that it gives addresses and makes no interface: its results are abbreviated.
	IPAM bool `json:"ipam,omitempty"`
	// Unready is a configuration with which it cannot serve ADD; none if there is none.
	Unready map[string]json.RawMessage `json:"unready,omitempty"`
}

// The networks that plugins are configured with.
const (
	theNetwork   = "conform"
	otherNetwork = "conform-other"
)

const (
	// callTimeout bounds a call of the plugin.
	callTimeout = 30 * time.Second
	// maxOutput bounds what is read of it, in bytes.
	maxOutput = 1 << 20
)

// call is one execution of a plugin.
type call struct {
	command, container, namespace, ifname, args string

	version string
	config  map[string]json.RawMessage // put into the configuration; nil takes a key out
	other   bool                       // the second network's
	unready bool                       // the configuration that cannot serve
	stdin   *string                    // instead of a configuration
	without []string                   // parameters that are not given
}

// outcome is what a plugin said.
type outcome struct {
	status int
	stdout []byte
	stderr string
}

func (o outcome) String() string {
	return fmt.Sprintf("status %d, stdout %q, stderr %q", o.status, shorten(string(o.stdout)), shorten(o.stderr))
}

func shorten(s string) string {
	const most = 400
	if s = strings.TrimSpace(s); len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// environment is what the call gives as environment, in the order of its names.
func (c call) environment(p Plugin) []string {
	values := map[string]string{"CNI_COMMAND": c.command, "CNI_PATH": strings.Join(p.Path, ":"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
	for name, value := range map[string]string{"CNI_CONTAINERID": c.container, "CNI_NETNS": c.namespace, "CNI_IFNAME": c.ifname, "CNI_ARGS": c.args} {
		if value != "" {
			values[name] = value
		}
	}
	for _, name := range c.without {
		delete(values, name)
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, name+"="+values[name])
	}
	return out
}

// configuration is what the call gives on stdin.
func (c call) configuration(p Plugin) ([]byte, error) {
	if c.stdin != nil {
		return []byte(*c.stdin), nil
	}
	of, name := p.Config, theNetwork
	switch {
	case c.other:
		of, name = p.Other, otherNetwork
	case c.unready:
		of = p.Unready
	}
	conf := map[string]json.RawMessage{"cniVersion": jsonOf(c.version), "name": jsonOf(name)}
	maps.Copy(conf, of)
	for key, value := range c.config {
		if conf[key] = value; value == nil {
			delete(conf, key)
		}
	}
	return json.Marshal(conf)
}

// jsonOf encodes what can be encoded, such as texts and lists of them.
func jsonOf(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // a case of the table's fault
	}
	return raw
}

// bounded keeps the first bytes of what is written.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxOutput - b.Len(); room > 0 {
		_, _ = b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// run executes the plugin. The error says that it could not be executed or did not end.
func (p Plugin) run(ctx context.Context, c call) (outcome, error) {
	conf, err := c.configuration(p)
	if err != nil {
		return outcome{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var stdout, stderr bounded
	cmd := exec.CommandContext(ctx, p.Binary)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.environment(p), bytes.NewReader(conf), &stdout, &stderr
	cmd.WaitDelay = time.Second // for children that keep its output open
	err = cmd.Run()
	o := outcome{stdout: stdout.Bytes(), stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return o, fmt.Errorf("it did not end within %v", callTimeout)
	case errors.As(err, &exit):
		o.status = exit.ExitCode()
	case err != nil:
		return o, err
	}
	return o, nil
}

// result is a result or an error in any version of the specification.
type result struct {
	CNIVersion        *string
	SupportedVersions []string

	Code         *uint
	Msg, Details string

	Interfaces []resultInterface
	IPs        []struct {
		Version, Address, Gateway string
		Interface                 *int
	}
	Routes []struct{ Dst, GW string }
	DNS    struct {
		Nameservers, Search, Options []string
		Domain                       string
	}
}

// resultInterface is an interface as a result has it.
type resultInterface struct {
	Name, Mac, Sandbox string
	MTU                int
}

// parse reads the one object that is to be on stdout.
func (o outcome) parse() (r result, err error) {
	decoder := json.NewDecoder(bytes.NewReader(o.stdout))
	if err := decoder.Decode(&r); err != nil {
		return r, fmt.Errorf("stdout is no JSON object (%w): %s", err, o)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return r, fmt.Errorf("there is more than one object on stdout: %s", o)
	}
	return r, nil
}
