package cli

import (
	"bytes"
	"io"
	"strings"

	dockercli "github.com/docker/cli/cli"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/cli/investigate"
	"github.com/linkspan/linkspan/internal/diagnose"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// doctor says what is wrong with the host.
func (p Program) doctor(socket *string) *cobra.Command {
	var out format
	quiet := false
	c := &cobra.Command{
		Use: "doctor [OPTIONS]", Short: "Say what is wrong with this host, and the command that mends it",
		Long: "Look at what the engine needs of this host: kernel, rules of others, cgroups, containerd, the daemon and what it made, forwarding, routes,\n" +
			"ports, name servers, tables, leftovers, disk and clock. Works while the daemon does not run, too. Exit status 1: something is wrong.",
		Args: dockercli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			i := investigate.Investigator{Daemon: privateapi.Client{Socket: *socket}, Surveyor: p.Surveyor}
			found := diagnose.Doctor(i.Host(cmd.Context()))
			if err := out.print(cmd.OutOrStdout(), found, func(w io.Writer) error { return printFindings(w, found, quiet) }); err != nil {
				return failed(err)
			}
			if !diagnose.Healthy(found) {
				return dockercli.StatusError{StatusCode: statusDiffers}
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "Show only what is not right")
	out.add(c)
	return c
}

// printFindings writes the tree, and the sum.
func printFindings(w io.Writer, found []diagnose.Finding, quiet bool) error {
	var out bytes.Buffer
	count := map[diagnose.Status]int{}
	for _, f := range found {
		if count[f.Status]++; quiet && f.Status == diagnose.OK {
			continue
		}
		indent := strings.Repeat("  ", f.Depth)
		line(&out, "%s %s%s: %s", marks[f.Status], indent, f.Check, f.Found)
		if f.Mend != "" {
			line(&out, "      %s-> %s", indent, f.Mend)
		}
	}
	line(&out, "%d right, %d to note, %d wrong, %d not known", count[diagnose.OK], count[diagnose.Note], count[diagnose.Wrong], count[diagnose.Unknown])
	_, err := w.Write(out.Bytes())
	return err
}
