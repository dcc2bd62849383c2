package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	dockercli "github.com/docker/cli/cli"
	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// top shows live traffic. Docker's command of that name, for the processes of one
// container, is what it is with an argument.
//
//docker:added top --format, top --interval, top --once, top --sort: of live traffic, which `top` without a container shows
func top(root *cobra.Command, socket *string) {
	c := dockers(root, "top")
	processes := c.RunE
	var out format
	w := topWatch{interval: time.Second}
	flags := c.Flags()
	flags.SetInterspersed(false) // what follows the container is options of ps
	flags.DurationVar(&w.interval, "interval", w.interval, "Without CONTAINER: how long rates are measured, between two pictures")
	flags.BoolVar(&w.once, "once", false, "Without CONTAINER: show one picture, after one interval, and end")
	flags.StringVar(&w.sort, "sort", sortRate, `Without CONTAINER: order by "rate", "total" or "name"`)
	_ = c.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions([]string{sortRate, sortTotal, sortName}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	out.add(c)
	c.Use = "top [OPTIONS], or CONTAINER [ps OPTIONS]"
	c.Short = "Show live traffic by container, network and published port; or the running processes of a container"
	c.Args = nil
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return processes(cmd, args)
		}
		w.out, w.format = cmd.OutOrStdout(), out
		return failed(w.run(cmd.Context(), privateapi.Client{Socket: *socket}))
	}
}

// Orders of rows.
const (
	sortRate  = "rate"
	sortTotal = "total"
	sortName  = "name"
)

// topWatch is one call of `linkspan top`.
type topWatch struct {
	interval time.Duration
	once     bool
	sort     string
	format   format
	out      io.Writer
}

// terminal is an output that knows what it is.
type terminal interface {
	IsTerminal() bool
	GetTtySize() (height, width uint)
}

// run shows pictures until ctx ends, which is how a user leaves.
func (t topWatch) run(ctx context.Context, client privateapi.Client) error {
	if !slices.Contains([]string{sortRate, sortTotal, sortName}, t.sort) {
		return dockercli.StatusError{Cause: fmt.Errorf("invalid --sort: %q: choose rate, total or name", t.sort), StatusCode: statusFailed}
	}
	count := 0
	if t.once {
		count = 1
	}
	err := client.Top(ctx, t.interval, count, t.show)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// show writes one picture: on a terminal in the place of the one before.
func (t topWatch) show(s privateapi.Top) error {
	sortTop(&s, t.sort)
	switch {
	case t.format.text == "json" && !t.once:
		return json.NewEncoder(t.out).Encode(s) // a line each, for programs that follow
	case !t.format.table():
		return t.format.print(t.out, s, nil)
	}
	text := topTable(s)
	if screen, ok := t.out.(terminal); ok && screen.IsTerminal() && !t.once {
		height, _ := screen.GetTtySize()
		text = redraw(text, int(height))
	} else if !t.once {
		text += "\n"
	}
	_, err := io.WriteString(t.out, text)
	return err
}

// redraw puts text where the cursor's home is, as many lines as there is room for, and
// clears what was there (ECMA-48: CUP, EL, ED).
func redraw(text string, height int) string {
	const home, endOfLine, below = "\x1b[H", "\x1b[K", "\x1b[J"
	var out bytes.Buffer
	out.WriteString(home)
	lines := bytes.Split(bytes.TrimSuffix([]byte(text), []byte("\n")), []byte("\n"))
	if height > 1 && len(lines) > height-1 {
		lines = lines[:height-1]
	}
	for _, l := range lines {
		out.Write(l)
		out.WriteString(endOfLine + "\n")
	}
	out.WriteString(below)
	return out.String()
}

// sortTop puts the rows in order; those that are alike by name.
func sortTop(s *privateapi.Top, by string) {
	weight := func(a ...privateapi.Flow) (sum float64) {
		for _, f := range a {
			switch by {
			case sortRate:
				sum += f.BytesPerSecond
			case sortTotal:
				sum += float64(f.Bytes)
			}
		}
		return sum
	}
	slices.SortStableFunc(s.Containers, func(a, b privateapi.TopContainer) int {
		return cmp.Or(cmp.Compare(weight(b.In, b.Out), weight(a.In, a.Out)), cmp.Compare(a.Container, b.Container), cmp.Compare(a.Network, b.Network))
	})
	slices.SortStableFunc(s.Networks, func(a, b privateapi.TopNetwork) int {
		return cmp.Or(cmp.Compare(weight(b.In, b.Out), weight(a.In, a.Out)), cmp.Compare(a.Network, b.Network))
	})
	slices.SortStableFunc(s.Ports, func(a, b privateapi.TopPort) int {
		return cmp.Compare(weight(b.Both), weight(a.Both)) // else by host port, as they come
	})
}

// topTable is a picture for people.
func topTable(s privateapi.Top) string {
	var out bytes.Buffer
	columns := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	row := func(format string, args ...any) {
		fmt.Fprintf(columns, format+"\n", args...)
	}
	row("CONTAINER\tNETWORK\tINTERFACE\tIN/s\tOUT/s\tPACKETS IN/s\tPACKETS OUT/s\tIN\tOUT")
	for _, c := range s.Containers {
		row("%s\t%s\t%s\t%s", model.Printable(c.Container), model.Printable(c.Network), model.Printable(c.Interface), flows(c.In, c.Out))
	}
	_ = columns.Flush() // into memory
	out.WriteByte('\n')
	row("NETWORK\tCONTAINERS\tIN/s\tOUT/s\tPACKETS IN/s\tPACKETS OUT/s\tIN\tOUT")
	for _, n := range s.Networks {
		row("%s\t%d\t%s", model.Printable(n.Network), n.Containers, flows(n.In, n.Out))
	}
	_ = columns.Flush()
	if len(s.Ports) == 0 {
		return out.String()
	}
	out.WriteByte('\n')
	row("PORT\tCONTAINER\tTRAFFIC/s\tPACKETS/s\tCONNECTIONS/s\tTRAFFIC\tCONNECTIONS")
	for _, p := range s.Ports {
		row("%s\t%s\t%s", portName(p), model.Printable(p.Container), portFlows(p))
	}
	_ = columns.Flush()
	return out.String()
}

func flows(in, out privateapi.Flow) string {
	return fmt.Sprintf("%s\t%s\t%.0f\t%.0f\t%s\t%s", size(in.BytesPerSecond), size(out.BytesPerSecond), in.PacketsPerSecond, out.PacketsPerSecond,
		size(float64(in.Bytes)), size(float64(out.Bytes)))
}

func portFlows(p privateapi.TopPort) string {
	if !p.Counted {
		return "-\t-\t-\t-\t-"
	}
	return fmt.Sprintf("%s\t%.0f\t%.1f\t%s\t%d", size(p.Both.BytesPerSecond), p.Both.PacketsPerSecond, p.ConnectionsPerSecond, size(float64(p.Both.Bytes)), p.Connections)
}

// portName is "0.0.0.0:8080/tcp", or what is reached at the container's own address.
func portName(p privateapi.TopPort) string {
	if p.HostPorts == "" {
		return fmt.Sprintf("routed %s/%s", p.ContainerPorts, p.Protocol)
	}
	return fmt.Sprintf("%s:%s/%s", p.Address, p.HostPorts, p.Protocol)
}

// size is bytes as docker stats writes them.
func size(bytes float64) string { return units.HumanSizeWithPrecision(bytes, 3) }
