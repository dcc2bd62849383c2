package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/cli/investigate"
	"github.com/linkspan/linkspan/internal/diagnose"
	"github.com/linkspan/linkspan/internal/privateapi"
	"github.com/linkspan/linkspan/internal/web"
)

const (
	// webAddress is where the page is served unless somebody says where.
	webAddress = "127.0.0.1:8377"
	// webTrace bounds one look at a way from the page.
	webTrace = 30 * time.Second
)

// web serves a page that shows what the network does.
func (p Program) web(docker command.Cli, socket *string) *cobra.Command {
	listen, tokenFile, attempts := webAddress, "", false
	c := &cobra.Command{
		Use: "web [OPTIONS]", Short: "Serve a page that shows networks, containers, ports, traffic and events as they are, until interrupted", Args: dockercli.NoArgs,
		Long: "Serve a page for a browser: who is on which network, published ports, traffic, events, and what differs from what is wanted;\n" +
			"the firewall's rules in words, and why somebody does not reach somebody else. Nothing can be changed by it.\n\n" +
			"It listens at a loopback address, and asks for a token, which is part of the address that is printed; or at a unix socket,\n" +
			"for those who may open that. From another machine: ssh -L 8377:127.0.0.1:8377 HOST.",
		Example: "linkspan web\nlinkspan web --listen unix:///run/linkspan/web.sock",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := webListener(listen)
			if err != nil {
				return failed(err)
			}
			o := web.Options{Daemon: privateapi.Client{Socket: *socket}, Events: eventsOf(docker.Client())}
			o.Trace = func(ctx context.Context, from, to string) (diagnose.Report, error) {
				ctx, cancel := context.WithTimeout(ctx, webTrace)
				defer cancel()
				i := investigate.Investigator{Daemon: privateapi.Client{Socket: *socket}, Surveyor: p.Surveyor, Patience: time.Second, Quiet: !attempts}
				path, err := i.Path(ctx, from, to)
				if err != nil {
					return diagnose.Report{}, err
				}
				return diagnose.Trace(path), nil
			}
			where := listen
			if l.Addr().Network() == "tcp" {
				if o.Token, err = webToken(tokenFile); err != nil {
					return failed(errors.Join(err, l.Close()))
				}
				where = fmt.Sprintf("http://%s/#token=%s", l.Addr(), o.Token)
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), where); err != nil {
				return failed(errors.Join(err, l.Close()))
			}
			return failed(serveWeb(cmd.Context(), l, web.Handler(o)))
		},
	}
	flags := c.Flags()
	flags.StringVar(&listen, "listen", listen, "A loopback address and port (port 0: any that is free), or unix://PATH")
	flags.StringVar(&tokenFile, "token-file", "", "The file that holds the token, in its first line (default: a new one, for this time)")
	flags.BoolVar(&attempts, "attempts", false, "Let a trace from the page make one attempt, as `linkspan trace` does; else it only looks")
	return c
}

// webListener listens where nobody from another machine comes.
func webListener(at string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(at, "unix://"); ok {
		l, err := net.Listen("unix", path)
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(path, 0o660); err != nil {
			return nil, errors.Join(err, l.Close())
		}
		return l, nil
	}
	host, _, err := net.SplitHostPort(at)
	if err != nil {
		return nil, fmt.Errorf("invalid --listen: %w: write 127.0.0.1:8377, or unix:///run/linkspan/web.sock", err)
	}
	if ip := net.ParseIP(host); !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("invalid --listen: %s is not a loopback address: whoever reads the page on its way would see what it shows; reach it by `ssh -L`, or a proxy with TLS before a unix socket", host)
	}
	return net.Listen("tcp", at)
}

// webToken returns what a browser has to know.
func webToken(file string) (string, error) {
	if file == "" {
		b := make([]byte, 16)
		_, _ = rand.Read(b) // it never fails
		return hex.EncodeToString(b), nil
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", err
	}
	token, _, _ := strings.Cut(string(raw), "\n")
	if token = strings.TrimSpace(token); len(token) < 16 {
		return "", fmt.Errorf("the token in %s is shorter than 16 characters", file)
	}
	return token, nil
}

// serveWeb answers browsers until ctx ends.
func serveWeb(ctx context.Context, l net.Listener, h http.Handler) error {
	s := http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := context.AfterFunc(ctx, func() { s.Close() }) //nolint:errcheck // Serve says what is wrong
	defer ended()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// eventsOf tells what the engine tells everybody.
func eventsOf(engine client.APIClient) func(context.Context, func(web.Event)) error {
	return func(ctx context.Context, each func(web.Event)) error {
		told := engine.Events(ctx, client.EventsListOptions{})
		for {
			select {
			case m := <-told.Messages:
				each(event(m))
			case err := <-told.Err:
				return err
			}
		}
	}
}

// event is a message of the engine's for people.
func event(m events.Message) web.Event {
	e := web.Event{At: time.Unix(0, m.TimeNano).UTC(), Type: string(m.Type), Action: string(m.Action), Name: m.Actor.Attributes["name"]}
	if e.Name == "" {
		e.Name = m.Actor.ID
	}
	for _, of := range []string{"container", "exitCode", "what", "error"} {
		if text := m.Actor.Attributes[of]; text != "" {
			e.Text = strings.TrimSpace(e.Text + " " + of + " " + text)
		}
	}
	return e
}
