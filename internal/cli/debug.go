package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	dockercli "github.com/docker/cli/cli"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/cli/investigate"
	"github.com/linkspan/linkspan/internal/diagnose"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// Describer writes down what a network namespace has, by the path of its file; the empty path
// is the host's own.
type Describer interface {
	Describe(ctx context.Context, namespace string) (string, error)
}

const (
	// maxDescribed bounds how many namespaces a dump describes.
	maxDescribed = 512
	// dumping is how long a dump may take.
	dumping = 5 * time.Minute
)

// debug is the commands for those who look for a fault in the engine itself.
func (p Program) debug(socket *string) *cobra.Command {
	parent := &cobra.Command{
		Use: "debug", Short: "Gather what is needed to find a fault of the engine", Args: dockercli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	file := ""
	dump := &cobra.Command{
		Use: "dump [OPTIONS]", Short: "Write all that is known of the engine and its networks to a file, without secrets",
		Long: "Write a .tar.gz with the daemon's state, settings, plan, differences, last events and log lines, goroutines, what doctor says, and links,\n" +
			"addresses, routes, neighbours and rules of the host and of every container. Environment variables, arguments, labels, options and health checks\n" +
			"of containers, proxies, mirrors and log options are removed; names and addresses stay. Works while the daemon does not run, too.",
		Args: dockercli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), dumping)
			defer cancel()
			return failed(p.writeDump(ctx, *socket, file, cmd.OutOrStdout(), time.Now().UTC()))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	dump.Flags().StringVarP(&file, "output", "o", "", `File, which is its owner's alone and must not be there; "-" for standard output (default linkspan-dump-TIME.tar.gz)`)
	parent.AddCommand(dump)
	return parent
}

// writeDump makes the dump, and says where it is. A file that could not be written whole is
// removed.
func (p Program) writeDump(ctx context.Context, socket, file string, out io.Writer, now time.Time) (err error) {
	if file == "-" {
		if screen, ok := out.(terminal); ok && screen.IsTerminal() {
			return errors.New("a dump is not for terminals: write it to a file (-o FILE)")
		}
		return p.archive(ctx, socket, out, now)
	}
	if file == "" {
		file = "linkspan-dump-" + now.Format("20060102T150405Z") + ".tar.gz"
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(p.archive(ctx, socket, f, now), f.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	_, err = fmt.Fprintln(out, file)
	return err
}

// archive writes the files, as they come.
func (p Program) archive(ctx context.Context, socket string, out io.Writer, now time.Time) error {
	zipped := gzip.NewWriter(out)
	a := &archive{tar: tar.NewWriter(zipped), now: now}
	client := privateapi.Client{Socket: socket}
	a.add("version.txt", fmt.Sprintf("linkspan %s\ntaken %s\n", p.Version, now.Format(time.RFC3339)))
	if d, err := client.Dump(ctx); err != nil {
		a.add("daemon/missing.txt", err.Error()+"\n")
	} else {
		a.add("daemon/version.txt", fmt.Sprintf("linkspand %s, process %d, firewall %s\ndata %s\nexec %s\n", d.Daemon.Version, d.Daemon.Pid, d.Daemon.FirewallBackend, d.Daemon.DataRoot, d.Daemon.ExecRoot))
		for _, f := range d.Files {
			a.add("daemon/"+path.Clean("/" + f.Name)[1:], f.Text)
		}
	}
	var doctor bytes.Buffer
	found := diagnose.Doctor(investigate.Investigator{Daemon: client, Surveyor: p.Surveyor}.Host(ctx))
	_ = printFindings(&doctor, found, false) // into memory
	a.add("doctor.txt", doctor.String())
	for name, namespace := range p.namespaces(ctx, client) {
		text, err := p.Describer.Describe(ctx, namespace)
		if err != nil {
			text = "not read: " + err.Error() + "\n"
		}
		a.add("namespaces/"+name+".txt", text)
	}
	return errors.Join(a.err, a.tar.Close(), zipped.Close())
}

// namespaces are the host's own, those of containers, and what else there is of ours, by
// names for files.
func (p Program) namespaces(ctx context.Context, client privateapi.Client) map[string]string {
	out := map[string]string{"host": ""}
	s, err := client.State(ctx)
	if err != nil {
		return out
	}
	for _, c := range s.Containers {
		if c.Up && c.Namespace != "" && len(out) < maxDescribed {
			out[fileName(c.Name)+"-"+filepath.Base(c.Namespace)] = c.Namespace
		}
	}
	shared, _ := filepath.Glob(filepath.Join(model.NetnsDir, "ov-*")) // of networks over hosts; the pattern is right
	for _, at := range shared[:min(len(shared), maxDescribed)] {
		out[filepath.Base(at)] = at
	}
	return out
}

// fileName is a name as a file may have it.
func fileName(name string) string {
	return strings.Map(func(c rune) rune {
		if c == '/' || c < ' ' || c == 0x7f {
			return '_'
		}
		return c
	}, name)
}

// archive is a tar file in the making; the first failure stays.
type archive struct {
	tar *tar.Writer
	now time.Time
	err error
}

func (a *archive) add(name, text string) {
	if a.err != nil {
		return
	}
	if a.err = a.tar.WriteHeader(&tar.Header{Name: "linkspan-dump/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: a.now, Typeflag: tar.TypeReg}); a.err == nil {
		_, a.err = io.WriteString(a.tar, text)
	}
}
