// Command buildclient builds an image as docker buildx does: over the connections /grpc and /session of Docker's API, with a
// session that has the files and a secret. It is there so that stories need no buildx.
//
//	buildclient SOCKET FOLDER NAME [ATTRIBUTE=VALUE…]
//
// NAME may be empty. Attributes are those of BuildKit's Dockerfile frontend, such as target or build-arg:A; secret=TEXT is the secret
// "s". What steps print goes to standard error, the image's ID to standard output.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: buildclient SOCKET FOLDER NAME [ATTRIBUTE=VALUE…]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := build(ctx, strings.TrimPrefix(os.Args[1], "unix://"), os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, "buildclient:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to be stopped
	}
}

func build(ctx context.Context, socket, folder, name string, attributes []string) error {
	c, err := client.New(ctx, "",
		client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return upgraded(ctx, socket, "/grpc", "h2c", nil)
		}),
		client.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			return upgraded(ctx, socket, "/session", proto, meta)
		}))
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the program is about to end
	files, err := fsutil.NewFS(folder)
	if err != nil {
		return err
	}
	o := client.SolveOpt{
		Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"image-resolve-mode": "local"},
		LocalMounts: map[string]fsutil.FS{"context": files, "dockerfile": files},
		Exports:     []client.ExportEntry{{Type: "moby", Attrs: map[string]string{"name": name}}},
	}
	for _, a := range attributes {
		key, value, _ := strings.Cut(a, "=")
		switch {
		case key == "secret":
			o.Session = []session.Attachable{secretsprovider.FromMap(map[string][]byte{"s": []byte(value)})}
		case key == "force-network-mode" && value == "host":
			o.AllowedEntitlements = []string{"network.host"}
			fallthrough
		default:
			o.FrontendAttrs[key] = value
		}
	}
	return solve(ctx, c, o)
}

// solve builds, showing what steps print.
func solve(ctx context.Context, c *client.Client, o client.SolveOpt) error {
	var both errgroup.Group
	status := make(chan *client.SolveStatus)
	both.Go(func() error {
		done, err := c.Solve(ctx, nil, o, status)
		if err == nil {
			fmt.Println(done.ExporterResponse["containerimage.config.digest"])
		}
		return err
	})
	both.Go(func() error {
		for s := range status {
			for _, l := range s.Logs {
				os.Stderr.Write(l.Data) //nolint:errcheck // nobody else could be told
			}
		}
		return nil
	})
	return both.Wait()
}

// upgraded opens a connection and has it taken over.
func upgraded(ctx context.Context, socket, path, proto string, meta map[string][]string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker"+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	for key, values := range meta {
		r.Header[http.CanonicalHeaderKey(key)] = values
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", proto)
	if err := r.Write(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, r)
	if err == nil && answer.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("%s: %s", path, answer.Status)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return taken{conn, in}, nil
}

// taken is a connection of which some may have been read already.
type taken struct {
	net.Conn
	in *bufio.Reader
}

// Read implements net.Conn.
func (t taken) Read(p []byte) (int, error) { return t.in.Read(p) }
