// Package cni is the door for container runtimes that speak CNI: it translates one call
// of the plugin linkspan-cni into a request on the daemon's private socket, and the
// answer into what the specification says (https://www.cni.dev/docs/spec/, 0.3.1 to
// 1.1.0).
//
//	environment, stdin ─▶ Call.Run ─▶ Daemon ─▶ result or error on stdout
//
// It decides nothing about networks, keeps no state and touches no namespace: what an
// attachment is, and what becomes of it, the daemon knows. What is on stdin comes from
// the runtime and from a file of the administrator's; it is bounded, and checked before
// the daemon is asked.
package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// Daemon is what is asked: a privateapi.Client.
type Daemon interface {
	Attach(ctx context.Context, r privateapi.Request) (privateapi.Attachment, error)
	Detach(ctx context.Context, r privateapi.Ref) error
	Check(ctx context.Context, r privateapi.Check) error
	Collect(ctx context.Context, r privateapi.Collect) (privateapi.Collected, error)
	Ready(ctx context.Context, network string) error
}

// Call is one call of the plugin.
type Call struct {
	Getenv         func(string) string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Daemon returns the daemon that listens at a socket.
	Daemon  func(socket string) Daemon
	Version string // of the program
}

// Versions are those of the specification that the plugin speaks.
var versions = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}

const (
	latest = "1.1.0"
	// maxInput bounds what is read of stdin, in bytes.
	maxInput = 4 << 20
	// maxDepth bounds how deep objects and lists there stand in one another.
	maxDepth = 64
)

// Codes of errors that the specification has no number for.
const (
	codeUnavailable = 50 // STATUS: cannot serve ADD
	codeRefused     = 100
	codeTaken       = 101 // an interface, an address, a port or a MAC address is another's
	codeNoNetwork   = 102
)

// Run makes the call and returns the exit status of the program: 0, or 1 after an error,
// which is on stdout as the specification has it.
func (c Call) Run(ctx context.Context) int {
	if c.Getenv("CNI_COMMAND") == "" {
		fmt.Fprintf(c.Stderr, "CNI plugin linkspan-cni %s: attaches network namespaces to networks of linkspan\nCNI protocol versions supported: %s\n",
			c.Version, strings.Join(versions, ", "))
		return 0
	}
	spoken, err := c.serve(ctx)
	if err == nil {
		return 0
	}
	var e *types.Error
	if !errors.As(err, &e) {
		e = types.NewError(codeRefused, err.Error(), "")
	}
	out := struct {
		CNIVersion string `json:"cniVersion"`
		*types.Error
	}{spoken, e}
	if err := c.print(out); err != nil {
		fmt.Fprintln(c.Stderr, "linkspan-cni:", err)
	}
	return 1
}

func (c Call) print(v any) error {
	encoder := json.NewEncoder(c.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "    ")
	return encoder.Encode(v)
}

// serve does what the command says, and returns the version of the protocol that is
// spoken, also with an error.
func (c Call) serve(ctx context.Context) (spoken string, err error) {
	command := c.Getenv("CNI_COMMAND")
	do, known := map[string]func(context.Context, request) error{
		"ADD": c.add, "DEL": c.del, "CHECK": c.check, "STATUS": c.status, "GC": c.collect, "VERSION": nil,
	}[command]
	if !known {
		return latest, badEnvironment(fmt.Sprintf("CNI_COMMAND=%s is unknown", command))
	}
	raw, err := io.ReadAll(io.LimitReader(c.Stdin, maxInput+1))
	if err != nil {
		return latest, types.NewError(types.ErrIOFailure, "the network configuration cannot be read from stdin", err.Error())
	}
	if len(raw) > maxInput {
		return latest, types.NewError(types.ErrDecodingFailure, fmt.Sprintf("the network configuration has more than %d bytes", maxInput), "")
	}
	if do == nil {
		return latest, c.version(raw)
	}
	conf, err := parseConfig(raw)
	if err != nil {
		return conf.spoken(), err
	}
	r, err := c.request(command, conf)
	if err == nil {
		err = do(ctx, r)
	}
	return conf.spoken(), err
}

// version answers VERSION. Old runtimes give nothing on stdin.
func (c Call) version(raw []byte) error {
	var asked struct {
		CNIVersion string `json:"cniVersion"`
	}
	_ = json.Unmarshal(raw, &asked) // whatever it is, the answer helps
	if asked.CNIVersion == "" {
		asked.CNIVersion = latest
	}
	return c.print(struct {
		CNIVersion        string   `json:"cniVersion"`
		SupportedVersions []string `json:"supportedVersions"`
	}{asked.CNIVersion, versions})
}

// request is a call that can be made: its parameters are there and well-formed.
type request struct {
	config
	container, namespace, ifname string
	args                         map[string]string
	daemon                       Daemon
}

// since is the version of the specification that a command came with.
var since = map[string]string{"CHECK": "0.4.0", "STATUS": "1.1.0", "GC": "1.1.0"}

func (c Call) request(command string, conf config) (request, error) {
	if first, ok := since[command]; ok {
		if has, err := version.GreaterThanOrEqualTo(conf.CNIVersion, first); err != nil || !has {
			return request{}, types.NewError(types.ErrIncompatibleCNIVersion, "incompatible CNI versions",
				fmt.Sprintf("%s came with version %s, and the network configuration is of %s", command, first, conf.CNIVersion))
		}
	}
	r := request{config: conf, daemon: c.Daemon(conf.socket(c.Getenv))}
	if command == "STATUS" || command == "GC" {
		return r, nil
	}
	r.container, r.namespace, r.ifname = c.Getenv("CNI_CONTAINERID"), c.Getenv("CNI_NETNS"), c.Getenv("CNI_IFNAME")
	var missing []string
	for _, p := range []struct{ name, value string }{{"CNI_CONTAINERID", r.container}, {"CNI_NETNS", r.namespace}, {"CNI_IFNAME", r.ifname}} {
		if p.value == "" && (p.name != "CNI_NETNS" || command != "DEL") {
			missing = append(missing, p.name)
		}
	}
	if len(missing) > 0 {
		return r, badEnvironment("missing: " + strings.Join(missing, ", "))
	}
	if err := utils.ValidateContainerID(r.container); err != nil {
		return r, badEnvironment("CNI_CONTAINERID: " + err.Error())
	}
	if err := utils.ValidateInterfaceName(r.ifname); err != nil {
		return r, badEnvironment("CNI_IFNAME: " + err.Error())
	}
	if command == "DEL" { // it is to succeed wherever it can
		return r, nil
	}
	if !strings.HasPrefix(r.namespace, "/") {
		return r, badEnvironment(fmt.Sprintf("CNI_NETNS=%s is no absolute path", r.namespace))
	}
	var err error
	r.args, err = parseArgs(c.Getenv("CNI_ARGS"))
	return r, err
}

// parseArgs reads "A=B;C=D".
func parseArgs(text string) (map[string]string, error) {
	out := map[string]string{}
	for _, pair := range strings.Split(text, ";") {
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, badEnvironment(fmt.Sprintf("CNI_ARGS: %q is no pair of a key and a value", pair))
		}
		out[key] = value
	}
	return out, nil
}

func badEnvironment(text string) *types.Error {
	return types.NewError(types.ErrInvalidEnvironmentVariables, "invalid environment variables", text)
}

// explain gives an error of the daemon's its code.
func (r request) explain(err error) error {
	var away *privateapi.Away
	if err == nil {
		return nil
	}
	text, way, _ := strings.Cut(err.Error(), "\n")
	if errors.As(err, &away) {
		return types.NewError(types.ErrTryAgainLater, text, way)
	}
	code := uint(codeRefused)
	switch model.KindOf(err) {
	case model.Unavailable:
		code = types.ErrTryAgainLater
	case model.Invalid:
		code = types.ErrInvalidNetworkConfig
	case model.Conflict, model.Forbidden:
		code = codeTaken
	}
	return types.NewError(code, text, way)
}

// status answers STATUS.
func (c Call) status(ctx context.Context, r request) error {
	err := r.daemon.Ready(ctx, r.network())
	if err == nil {
		return nil
	}
	text, way, _ := strings.Cut(err.Error(), "\n")
	return types.NewError(codeUnavailable, text, way)
}

// del answers DEL: what is not there is not missed.
func (c Call) del(ctx context.Context, r request) error {
	return r.explain(r.daemon.Detach(ctx, r.ref()))
}

// ref is the attachment that the call is about.
func (r request) ref() privateapi.Ref {
	return privateapi.Ref{Door: model.DoorCNI, Config: r.Name, Container: r.container, Interface: r.ifname}
}

// collect answers GC.
func (c Call) collect(ctx context.Context, r request) error {
	var valid []privateapi.Ref
	for _, a := range r.ValidAttachments {
		valid = append(valid, privateapi.Ref{Container: a.ContainerID, Interface: a.IfName})
	}
	_, err := r.daemon.Collect(ctx, privateapi.Collect{Config: r.Name, Valid: valid})
	return r.explain(err)
}

func supported(v string) bool { return slices.Contains(versions, v) }
