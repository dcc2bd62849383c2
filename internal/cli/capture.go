package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	dockercli "github.com/docker/cli/cli"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/privateapi"
)

// captureFlags are the options of `linkspan capture`.
type captureFlags struct {
	file     string
	count    int
	snapLen  int
	duration time.Duration
}

// capture writes frames of a container or network to a file.
func capture(socket *string) *cobra.Command {
	var f captureFlags
	c := &cobra.Command{
		Use: "capture [OPTIONS] CONTAINER|NETWORK [FILTER...]", Short: "Write the packets of a container or network to a file for wireshark and tcpdump",
		Long: "Write what goes through the interfaces of a container, or over a network, as pcapng: with names of containers at each interface. On a network each\n" +
			"packet is there once. What a container sent that was dropped on its way is there, too. It ends with Ctrl-C.\n\n" +
			"FILTER is in tcpdump's words: ip, ip6, arp, tcp, udp, sctp, icmp, icmp6, [src|dst] host ADDRESS|CONTAINER, [src|dst] net PREFIX,\n" +
			"[tcp|udp|sctp] [src|dst] port PORT|FIRST-LAST, with and, or, not and parentheses. Where a container and a network have one name, write\n" +
			"container:NAME or network:NAME.",
		Example: "linkspan capture shop -w shop.pcapng tcp port 443 and not host db\nlinkspan capture web | tcpdump -n -r -",
		Args:    dockercli.RequiresMinArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return failed(f.run(cmd, privateapi.Client{Socket: *socket}, args))
		},
		ValidArgsFunction: targetNames(socket),
	}
	flags := c.Flags()
	flags.StringVarP(&f.file, "write", "w", "-", `File, which is its owner's alone; "-" for standard output`)
	flags.IntVarP(&f.count, "count", "c", 0, "End after so many packets")
	flags.IntVarP(&f.snapLen, "snaplen", "s", 0, "Bytes of each packet that are kept (default 262144, so that large packets of BIG TCP are whole)")
	flags.DurationVar(&f.duration, "duration", 0, "End after so long a time (at most 24h)")
	return c
}

// targetNames completes names of containers and networks.
func targetNames(socket *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) (words []string, _ cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
		defer cancel()
		s, err := privateapi.Client{Socket: *socket}.State(ctx)
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, c := range s.Containers {
			words = append(words, c.Name)
		}
		for _, n := range s.Networks {
			words = append(words, n.Name)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

func (f captureFlags) run(cmd *cobra.Command, client privateapi.Client, args []string) error {
	if f.count < 0 || f.snapLen < 0 || f.duration < 0 {
		return errors.New("numbers and times are not negative")
	}
	out, done, err := f.open(cmd.OutOrStdout())
	if err != nil {
		return err
	}
	got, known, err := client.Capture(cmd.Context(), privateapi.Capture{
		Target: args[0], Filter: strings.Join(args[1:], " "), SnapLen: f.snapLen, Count: f.count, Duration: f.duration,
	}, out)
	if err = errors.Join(err, done()); errors.Is(err, syscall.EPIPE) {
		return nil // whoever reads has seen enough
	}
	if err == nil || cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
		if known {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d packets captured, %d dropped\n", got.Frames, got.Dropped)
		}
		return nil
	}
	return err
}

// open opens the file, and returns what closes it.
func (f captureFlags) open(stdout io.Writer) (io.Writer, func() error, error) {
	nothing := func() error { return nil }
	if f.file == "-" {
		if screen, ok := stdout.(terminal); ok && screen.IsTerminal() {
			return nil, nothing, errors.New("packets are not for terminals: write them to a file (-w FILE), or to a program (| tcpdump -n -r -)")
		}
		return stdout, nothing, nil
	}
	file, err := os.OpenFile(f.file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nothing, err
	}
	if err := file.Chmod(0o600); err != nil { // it may have been there
		return nil, nothing, errors.Join(err, file.Close())
	}
	return file, file.Close, nil
}
