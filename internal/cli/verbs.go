package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/privateapi"
)

// DefaultSocket is where a daemon with the default --exec-root listens for
// linkspan.
const DefaultSocket = privateapi.DefaultSocket

// timeout bounds one request: a look at the whole kernel of a large host takes
// seconds, not minutes.
const timeout = time.Minute

// verb is one command of ours: the request it makes and what its answer means.
type verb struct {
	parent     string // the command of docker's that it stands below; "" is none
	use, short string
	method     string
	path       string
	query      string // with its question mark
	// differs says that any difference found means exit status 1.
	differs bool
	// argument says that one word more is needed; it becomes part of the path.
	argument bool
	// patient says that it may take as long as the user waits.
	patient bool
	// jsonPath is where it is answered as JSON; empty: at path, if that is asked for it.
	jsonPath string
	// textOnly says that there is no answer as JSON.
	textOnly bool
	// jsonOnly says that there is no answer but JSON.
	jsonOnly bool
}

func verbs() []verb {
	return []verb{
		{parent: "network", use: "plan", short: "Show what the networks ask of the kernel, one object on a line",
			method: http.MethodGet, path: "/linkspan/v1/plan"},
		{parent: "network", use: "diff", short: "Show what differs between the networks and the kernel; exit status 1 if anything does",
			method: http.MethodGet, path: "/linkspan/v1/diff", differs: true},
		{parent: "network", use: "repair", short: "Make the kernel as the networks ask",
			method: http.MethodPost, path: "/linkspan/v1/resync"},
		{parent: "port", use: "ls", short: "Show which host ports lead to which containers, since when, and how much came",
			method: http.MethodGet, path: "/linkspan/v1/ports"},
		{parent: "port", use: "who PORT", short: "Show which container or process has a host port, and who will want it",
			method: http.MethodGet, path: "/linkspan/v1/ports/", argument: true},
		{parent: "port", use: "drops", short: "Show what containers sent in another's name, which port security dropped",
			method: http.MethodGet, path: "/linkspan/v1/drops"},
		{parent: "port", use: "inspect CONTAINER", short: "Show how far a container is believed on its networks, and what was dropped of it",
			method: http.MethodGet, path: "/linkspan/v1/drops/", argument: true, jsonOnly: true},
		{use: "teardown", short: "End the daemon and all containers, and leave the host's network as it was before; data stays",
			method: http.MethodPost, path: "/linkspan/v1/teardown", textOnly: true},
		{use: "state", short: "Show everything the daemon knows, as text",
			method: http.MethodGet, path: "/debug/state", jsonPath: "/linkspan/v1/state"},
	}
}

// addVerbs puts our commands among docker's, and the option that says where the
// daemon is found.
//
//docker:added docker --socket: the daemon's private socket, by which Linkspan's own commands ask
func (p Program) addVerbs(root *cobra.Command, docker *command.DockerCli) {
	socket := root.Flags().String("socket", cmp.Or(os.Getenv("LINKSPAN_SOCKET"), DefaultSocket),
		"The daemon's private socket, for network plan, diff, repair, shape; port ls, who, drops, inspect; firewall show, explain; doctor; trace; top; capture; debug dump; web; attach PID|PATH NETWORK, detach; state; teardown; migrate docker")
	for _, v := range verbs() {
		parent := root
		if v.parent != "" {
			parent = dockers(root, v.parent)
		}
		parent.AddCommand(v.command(socket))
	}
	dockers(root, "network").AddCommand(shape(socket))
	dockers(root, "volume").AddCommand(volumeImport(socket))
	root.AddCommand(firewall(socket), p.trace(socket), p.doctor(socket), capture(socket), p.debug(socket), migration(docker, socket), p.web(docker, socket))
	withGuests(root, socket)
	top(root, socket)
}

// dockers returns docker's own command of that name, which it has.
func dockers(root *cobra.Command, name string) *cobra.Command {
	for _, c := range root.Commands() {
		if c.Name() == name {
			return c
		}
	}
	panic("docker has no command " + name)
}

func (v verb) command(socket *string) *cobra.Command {
	arguments := dockercli.NoArgs
	if v.argument {
		arguments = dockercli.ExactArgs(1)
	}
	var out format
	c := &cobra.Command{
		Use: v.use, Short: v.short, Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return v.formatted(cmd.Context(), *socket, args, out, cmd.OutOrStdout())
		},
	}
	if !v.textOnly {
		out.add(c)
	}
	return c
}

// formatted is run, with the answer as the user wants it.
func (v verb) formatted(ctx context.Context, socket string, args []string, wanted format, out io.Writer) error {
	if wanted.table() {
		return v.run(ctx, socket, args, out)
	}
	if v.path = cmp.Or(v.jsonPath, v.path); !v.jsonOnly {
		v.query = "?format=json"
	}
	var text bytes.Buffer
	err := v.run(ctx, socket, args, &text)
	if text.Len() == 0 {
		return err
	}
	var value any
	if err := json.Unmarshal(text.Bytes(), &value); err != nil {
		return failed(fmt.Errorf("the daemon's answer cannot be read: %w", err))
	}
	if err := wanted.print(out, value, nil); err != nil {
		return failed(err)
	}
	return err // of a difference
}

func (v verb) run(ctx context.Context, socket string, args []string, out io.Writer) error {
	for _, argument := range args {
		v.path += url.PathEscape(argument)
	}
	v.path += v.query
	a, err := request(ctx, socket, v)
	if err != nil {
		return dockercli.StatusError{Cause: fmt.Errorf("linkspan: %w", err), StatusCode: statusFailed}
	}
	if _, err := fmt.Fprint(out, a.body); err != nil {
		return err
	}
	if v.differs && a.drift != "0" {
		return dockercli.StatusError{StatusCode: statusDiffers}
	}
	return nil
}

// answer is what the daemon said; drift counts differences.
type answer struct{ body, drift string }

func request(ctx context.Context, socket string, v verb) (answer, error) {
	if !v.patient {
		limited, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		ctx = limited
	}
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, v.method, "http://linkspan"+v.path, nil)
	if err != nil {
		return answer{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%w\nIs the daemon running, and is this its private socket? (--socket, or LINKSPAN_SOCKET)", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return answer{string(body), resp.Header.Get("Linkspan-Drift")}, nil
}
