package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/cli/migrate"
)

// migrating is one call of `linkspan migrate docker`.
type migrating struct {
	docker *command.DockerCli
	socket *string // the daemon's private one

	from, save, root string
	apply            bool
}

// migration is the command that brings networks, volumes and containers over from Docker.
func migration(docker *command.DockerCli, socket *string) *cobra.Command {
	m := migrating{docker: docker, socket: socket}
	c := &cobra.Command{
		Use: "docker --from SOCKET|FILE [--save FILE | --apply]", Short: "Bring networks, volumes and containers' definitions over from a Docker host",
		Long: "Show what there is on a Docker host and what would be made of it here, and with --apply make it: networks with their subnets, volumes\n" +
			"with their data, containers as they were defined, which are not started. What is here already stays as it is, so it can be done again.\n" +
			"Nothing is changed where it comes from. Images are pulled or loaded before.\n\n" +
			"On one host dockerd and linkspand run after one another:\n\n" +
			"    linkspan migrate docker --from unix:///run/docker.sock --save docker.json    # dockerd runs\n" +
			"    linkspan migrate docker --from docker.json                                   # linkspand runs: what would be done\n" +
			"    linkspan migrate docker --from docker.json --apply\n\n" +
			"The file has containers' environment, passwords too: it is for root alone.",
		Args: dockercli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return m.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	c.Flags().StringVar(&m.from, "from", "", "Docker's socket (unix://, tcp://), or what --save wrote")
	c.Flags().StringVar(&m.save, "save", "", "Write what is there into this file, and do nothing else")
	c.Flags().StringVar(&m.root, "root", "", "Docker's data root, if it does not lie where it lay (volumes are copied from there)")
	c.Flags().BoolVar(&m.apply, "apply", false, "Make it, instead of only showing what would be made")
	c.MarkFlagsMutuallyExclusive("save", "apply")
	_ = c.MarkFlagRequired("from") // it is there
	parent := &cobra.Command{Use: "migrate", Short: "Bring over what somebody made with another engine"}
	parent.AddCommand(c)
	return parent
}

func (m migrating) run(ctx context.Context, out io.Writer) error {
	d, err := m.definitions(ctx)
	if err != nil {
		return failed(err)
	}
	if m.root != "" {
		d.Root = m.root
	}
	if m.save != "" {
		return m.write(d, out)
	}
	target := m.docker.Client()
	here, err := migrate.Look(ctx, target, d)
	if err != nil {
		return failed(err)
	}
	steps := migrate.Plan(d, here)
	if err := migrate.Report(out, steps); err != nil || !m.apply {
		return err
	}
	hands := migrate.Hands{Target: target, Volume: func(ctx context.Context, name string) error { return m.copyVolume(ctx, d.Root, name) }}
	bad := hands.Apply(ctx, steps, func(s migrate.Step, err error) {
		if err != nil {
			fmt.Fprintf(out, "%s %s: not made: %s\n", s.Kind, s.Name, strings.TrimSpace(err.Error()))
			return
		}
		fmt.Fprintf(out, "%s %s: made\n", s.Kind, s.Name)
	})
	if bad > 0 {
		return failed(fmt.Errorf("%d of them could not be made; the others are, and stay when this is done again", bad))
	}
	return ctx.Err()
}

// definitions reads them from an engine or from a file.
func (m migrating) definitions(ctx context.Context) (migrate.Definitions, error) {
	if !strings.Contains(m.from, "://") {
		file, err := os.Open(m.from)
		if err != nil {
			return migrate.Definitions{}, err
		}
		defer file.Close()
		d, err := migrate.Parse(file)
		if err != nil {
			return d, fmt.Errorf("%s: %w", m.from, err)
		}
		return d, nil
	}
	source, err := client.New(client.WithHost(m.from))
	if err != nil {
		return migrate.Definitions{}, err
	}
	defer source.Close() //nolint:errcheck // nothing is under way
	return migrate.Read(ctx, source)
}

// write puts definitions into a file that is root's alone. One that is there already is somebody's.
func (m migrating) write(d migrate.Definitions, out io.Writer) error {
	file, err := os.OpenFile(m.save, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return failed(err)
	}
	if err = d.Write(file); err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(m.save)
		return failed(err)
	}
	fmt.Fprintf(out, "%d networks, %d volumes and %d containers are in %s\n", len(d.Networks), len(d.Volumes), len(d.Containers), m.save)
	return nil
}

// copyVolume has the daemon copy one volume of a data root.
func (m migrating) copyVolume(ctx context.Context, root, name string) error {
	var said strings.Builder
	v := verb{method: http.MethodPost, path: "/linkspan/v1/volumes/import?" + url.Values{"root": {root}, "name": {name}}.Encode(), patient: true}
	if err := v.run(ctx, *m.socket, nil, &said); err != nil {
		return err
	}
	// it is told a line for each volume, and a sum at the end
	if lines := strings.TrimSpace(said.String()); !strings.HasSuffix(lines, "1 imported, 0 not") {
		return errors.New(strings.ReplaceAll(lines, "\n", "; "))
	}
	return nil
}
