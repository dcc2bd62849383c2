package cli

import (
	"errors"

	dockercli "github.com/docker/cli/cli"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/privateapi"
)

// shape changes how traffic is slowed down or lost, while it runs.
func shape(socket *string) *cobra.Command {
	var rate, delay, loss string
	none := false
	c := &cobra.Command{
		Use: "shape [OPTIONS] NETWORK [CONTAINER]", Short: "Slow down, delay or lose the traffic of a network's containers, or of one of them",
		Long: "Change what com.linkspan.rate, .delay and .loss say, at once: of a network for each container on it, or of one container there. Each holds for\n" +
			"both directions by itself: a delay of 50ms adds 100ms to a ping. What is not named stays as it is; an empty value takes it away, and for a\n" +
			"container the network's counts again; \"none\" has a container left alone whatever its network says.",
		Example: "linkspan network shape web --rate 10mbit\nlinkspan network shape web shop --delay 50ms --loss 1%\nlinkspan network shape web shop --rate none\nlinkspan network shape web --none",
		Args:    dockercli.RequiresRangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s := privateapi.Shape{}
			empty := ""
			for name, o := range map[string]struct {
				value *string
				to    **string
			}{"rate": {&rate, &s.Rate}, "delay": {&delay, &s.Delay}, "loss": {&loss, &s.Loss}} {
				switch {
				case none:
					*o.to = &empty
				case cmd.Flags().Changed(name):
					*o.to = o.value
				}
			}
			if s == (privateapi.Shape{}) {
				return failed(errors.New("nothing is to be changed: give --rate, --delay, --loss or --none"))
			}
			if len(args) == 2 {
				s.Container = args[1]
			}
			return failed(privateapi.Client{Socket: *socket}.Shape(cmd.Context(), args[0], s))
		},
		ValidArgsFunction: targetNames(socket),
	}
	flags := c.Flags()
	flags.StringVar(&rate, "rate", "", "Bits a second in each direction, such as 10mbit")
	flags.StringVar(&delay, "delay", "", "Time that each packet waits, such as 50ms")
	flags.StringVar(&loss, "loss", "", "Share of packets that are lost, such as 0.5%")
	flags.BoolVar(&none, "none", false, "Take all of it away")
	c.MarkFlagsMutuallyExclusive("none", "rate")
	c.MarkFlagsMutuallyExclusive("none", "delay")
	c.MarkFlagsMutuallyExclusive("none", "loss")
	return c
}
