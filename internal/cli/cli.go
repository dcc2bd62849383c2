// Package cli holds the linkspan command's own verbs: they show what the daemon
// wants of the kernel and what differs.
//
// It speaks to the daemon's private socket and decides nothing.
package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// DefaultSocket is where a daemon with the default --exec-root listens for
// linkspan.
const DefaultSocket = "/run/linkspan/private.sock"

// timeout bounds one request: a look at the whole kernel of a large host takes
// seconds, not minutes.
const timeout = time.Minute

const usage = `linkspan shows and repairs what the Linkspan daemon does to the network.

Usage: linkspan [--socket PATH] COMMAND

Commands:
  network plan     what the networks ask of the kernel, one object on a line
  network diff     what differs between that and the kernel; exit status 1 if anything does
  network repair   make the kernel so
  port ls          which host ports lead to which containers, since when, and how much came
  port who PORT    which container or process has a host port, and who will want it
  state            everything the daemon knows, as text

Containers and networks are managed with the docker command.
`

// verb is one command: the request it makes and what its answer means.
type verb struct {
	method, path string
	// differs says that any difference found means exit status 1.
	differs bool
	// argument says that one word more is needed; it becomes part of the path.
	argument bool
}

var verbs = map[string]verb{
	"network plan":   {method: http.MethodGet, path: "/linkspan/v1/plan"},
	"network diff":   {method: http.MethodGet, path: "/linkspan/v1/diff", differs: true},
	"network repair": {method: http.MethodPost, path: "/linkspan/v1/resync"},
	"port ls":        {method: http.MethodGet, path: "/linkspan/v1/ports"},
	"port who":       {method: http.MethodGet, path: "/linkspan/v1/ports/", argument: true},
	"state":          {method: http.MethodGet, path: "/debug/state"},
}

// Run runs one command and returns its exit status: 0, 1 if a difference was
// found, 2 if something went wrong.
func Run(ctx context.Context, args []string, out, errs io.Writer) int {
	flags := pflag.NewFlagSet("linkspan", pflag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() { fmt.Fprint(errs, usage) }
	socket := flags.String("socket", cmp.Or(os.Getenv("LINKSPAN_SOCKET"), DefaultSocket), "the daemon's private socket")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	v, name, known := find(flags.Args())
	if !known {
		if name != "" && name != "help" {
			fmt.Fprintf(errs, "linkspan: unknown command %q\n\n", name)
		}
		fmt.Fprint(errs, usage)
		return 2
	}
	a, err := request(ctx, *socket, v)
	if err != nil {
		fmt.Fprintf(errs, "linkspan: %v\n", err)
		return 2
	}
	fmt.Fprint(out, a.body)
	if v.differs && a.drift != "0" {
		return 1
	}
	return 0
}

// find returns the verb that words name, with the argument among them in its path.
func find(words []string) (v verb, name string, known bool) {
	name = strings.Join(words, " ")
	if v, known = verbs[name]; known {
		return v, name, !v.argument
	}
	if last := len(words) - 1; last > 0 {
		v, known = verbs[strings.Join(words[:last], " ")]
		v.path += url.PathEscape(words[last])
		return v, name, known && v.argument
	}
	return verb{}, name, false
}

// answer is what the daemon said; drift counts differences.
type answer struct{ body, drift string }

func request(ctx context.Context, socket string, v verb) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
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
