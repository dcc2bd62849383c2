package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	dockercli "github.com/docker/cli/cli"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/cli/investigate"
	"github.com/linkspan/linkspan/internal/diagnose"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// trace says why one party does not reach another.
func (p Program) trace(socket *string) *cobra.Command {
	var out format
	patience, quiet, live := time.Second, false, false
	c := &cobra.Command{
		Use: "trace [OPTIONS] FROM TO[:PORT[/PROTOCOL]]", Short: "Say why a container, the host or an address does not reach another, and whose fault it is",
		Long: "Look at every step of the way from FROM to TO: name, addresses, routes, neighbours, the firewall, connection tracking, who listens, the way\n" +
			"back, packet sizes; make one attempt; and say the first thing that is wrong, whose it is, and what can be done.\n\n" +
			"FROM is a container, \"host\", an address, or \"outside\" for any other machine; TO is a container, a name as FROM would use it, \"host\" or\n" +
			"an address. With a port an empty connection (TCP) or datagram (UDP) is sent, else an echo request. Exit status 1: it cannot get there.",
		Args:    dockercli.ExactArgs(2),
		Example: "linkspan trace shop db:5432\nlinkspan trace outside host:8080\nlinkspan trace web example.org:443",
		RunE: func(cmd *cobra.Command, args []string) error {
			i := investigate.Investigator{Daemon: privateapi.Client{Socket: *socket}, Surveyor: p.Surveyor, Patience: patience, Quiet: quiet}
			if live {
				return p.traceLive(cmd, i, privateapi.Client{Socket: *socket}, args, out)
			}
			path, err := i.Path(cmd.Context(), args[0], args[1])
			if err != nil {
				return failed(err)
			}
			report := diagnose.Trace(path)
			if err := out.print(cmd.OutOrStdout(), report, func(w io.Writer) error { return printTrace(w, report) }); err != nil {
				return failed(err)
			}
			if report.Outcome == diagnose.Broken {
				return dockercli.StatusError{StatusCode: statusDiffers}
			}
			return nil
		},
		ValidArgsFunction: p.partyNames(socket),
	}
	c.Flags().DurationVar(&patience, "timeout", patience, "How long the attempt, and each name server, may take")
	c.Flags().BoolVar(&quiet, "no-attempt", false, "Look only: send nothing but questions to name servers")
	c.Flags().BoolVar(&live, "live", false, "Follow the attempt through the kernel, and show every rule of nf_tables that it and the answer meet")
	c.MarkFlagsMutuallyExclusive("live", "no-attempt")
	out.add(c)
	return c
}

// partyNames completes containers' names.
func (p Program) partyNames(socket *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
		defer cancel()
		words := []string{"host"}
		if len(args) == 0 {
			words = append(words, "outside")
		}
		s, err := privateapi.Client{Socket: *socket}.State(ctx)
		if err != nil || len(args) > 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, c := range s.Containers {
			words = append(words, c.Name)
		}
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// marks are what stands before a line.
var marks = map[diagnose.Status]string{diagnose.OK: "ok   ", diagnose.Note: "note ", diagnose.Wrong: "WRONG", diagnose.Unknown: "?    "}

// printTrace writes the answer, then what was seen, a step a line.
func printTrace(w io.Writer, r diagnose.Report) error {
	var out bytes.Buffer
	line(&out, "%s: %s", r.Outcome, r.Verdict)
	if r.Whose != "" {
		line(&out, "Whose it is: %s", r.Whose)
	}
	if r.WayOut != "" {
		line(&out, "What to do: %s", r.WayOut)
	}
	out.WriteByte('\n')
	for _, s := range r.Steps {
		line(&out, "%s %s: %s", marks[s.Status], s.About, s.Text)
	}
	_, err := w.Write(out.Bytes())
	return err
}

// line writes one line, whatever others call things.
func line(out *bytes.Buffer, format string, args ...any) {
	out.WriteString(model.Printable(fmt.Sprintf(format, args...)) + "\n")
}
