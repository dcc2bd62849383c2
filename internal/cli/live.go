package cli

import (
	"bytes"
	"context"
	"io"

	dockercli "github.com/docker/cli/cli"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/cli/investigate"
	"github.com/linkspan/linkspan/internal/diagnose"
	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// liveReport is what `linkspan trace --live` found.
type liveReport struct {
	diagnose.Report
	Live evidence.Live
}

// traceLive makes one attempt, and shows which rules it met.
func (p Program) traceLive(cmd *cobra.Command, i investigate.Investigator, client privateapi.Client, args []string, out format) error {
	path, live, err := i.Live(cmd.Context(), p.Tracer, args[0], args[1])
	if err != nil {
		return failed(err)
	}
	report := liveReport{diagnose.Trace(path), live}
	names := linkOwners(cmd.Context(), client)
	err = out.print(cmd.OutOrStdout(), report, func(w io.Writer) error {
		if err := printTrace(w, report.Report); err != nil {
			return err
		}
		return printLive(w, live, names)
	})
	if err != nil {
		return failed(err)
	}
	if report.Outcome == diagnose.Broken {
		return dockercli.StatusError{StatusCode: statusDiffers}
	}
	return nil
}

// linkOwners are the names of what interfaces of the host belong to.
func linkOwners(ctx context.Context, client privateapi.Client) map[string]string {
	out := map[string]string{}
	s, err := client.State(ctx)
	if err != nil {
		return out // the kernel's names have to do
	}
	for _, n := range s.Networks {
		if n.Device != "" {
			out[n.Device] = "network " + n.Name
		}
	}
	for _, c := range s.Containers {
		for _, m := range c.Networks {
			if m.Port != "" {
				out[m.Port] = "container " + c.Name
			}
		}
	}
	return out
}

// printLive writes a rule a line, below the packet that met it and where.
func printLive(w io.Writer, live evidence.Live, names map[string]string) error {
	var out bytes.Buffer
	link := func(word, name string) string {
		switch owner := names[name]; {
		case name == "":
			return ""
		case owner != "":
			return " " + word + " " + name + " (" + owner + ")"
		}
		return " " + word + " " + name
	}
	out.WriteByte('\n')
	title := ""
	for _, s := range live.Steps {
		what := "the packet"
		if s.Answer {
			what = "the answer"
		}
		if now := what + " " + s.Packet + " at " + s.Place + ":"; now != title {
			title = now
			line(&out, "%s", title)
		}
		rule := s.Rule
		switch {
		case s.Comment != "" && s.Ours:
			rule = s.Comment
		case rule == "":
			rule = "end of the chain"
		}
		whose := "foreign"
		if s.Ours {
			whose = "linkspan"
		}
		mark := "  "
		if s.Verdict == "drop" {
			mark = "* "
		}
		line(&out, "%s%s %s%s%s: %s => %s [%s]", mark, s.Table, s.Chain, link("in", s.In), link("out", s.Out), rule, s.Verdict, whose)
	}
	if len(live.Steps) == 0 {
		line(&out, "no rule of nf_tables met a packet of it: rules of iptables-legacy, and networks without rules, are not seen")
	}
	for place, why := range live.Failed {
		line(&out, "? %s could not be followed: %s", place, why)
	}
	if live.Lost {
		line(&out, "? there was more than could be heard")
	}
	_, err := w.Write(out.Bytes())
	return err
}
