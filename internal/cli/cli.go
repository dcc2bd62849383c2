// Package cli is the linkspan command: the whole docker command tree, from
// docker's own library, and Linkspan's verbs, which show what the daemon wants
// of the kernel and what differs.
//
// Docker's commands speak to the Docker Engine API wherever docker's would;
// the verbs speak to the daemon's private socket. Nothing is decided here.
package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli-plugins/manager"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/commands"
	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/cli/investigate"
)

const (
	statusDiffers     = 1   // a difference was found
	statusFailed      = 2   // a verb of ours could not be done
	statusInterrupted = 130 // as a shell tells SIGINT
)

// Program is one call of the linkspan command.
type Program struct {
	Version string   // of this build
	Args    []string // without the program's name
	// Streams replace the standard ones, in tests.
	Streams []command.CLIOption
	// Surveyor looks at the host, for doctor and trace.
	Surveyor investigate.Surveyor
	// Tracer follows packets, for trace --live.
	Tracer investigate.Tracer
	// Describer writes down what namespaces have, for debug dump.
	Describer Describer
}

// Run does what the arguments say and returns the exit status: docker's for
// docker's commands; for our own 0, 1 if a difference was found, 2 if something
// went wrong. The end of ctx is an interrupt by the user.
func (p Program) Run(ctx context.Context) int {
	docker, err := command.NewDockerCli(append([]command.CLIOption{command.WithBaseContext(ctx)}, p.Streams...)...)
	if err != nil {
		return statusFailed
	}
	err = p.execute(ctx, docker)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errdefs.IsCanceled(err) {
		return statusInterrupted
	}
	if err.Error() != "" {
		fmt.Fprintln(docker.Err(), err)
	}
	return status(err)
}

// status is what err asks for, or 1.
func status(err error) int {
	var asked dockercli.StatusError
	if errors.As(err, &asked) && asked.StatusCode != 0 {
		return asked.StatusCode
	}
	var program interface{ ExitCode() int } // of a plugin
	if errors.As(err, &program) {
		return program.ExitCode()
	}
	return 1
}

func (p Program) execute(ctx context.Context, docker *command.DockerCli) error {
	top := p.tree(docker)
	top.SetArgs(p.Args)
	root, args, err := top.HandleGlobalFlags()
	if err != nil {
		return err
	}
	if err := top.Initialize(); err != nil {
		return err
	}
	if done, err := runPlugin(docker, root, args); done {
		return err
	}
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// Commands returns all commands, for those who describe them, and which of them are our own.
func (p Program) Commands() (root *cobra.Command, own map[*cobra.Command]bool, err error) {
	docker, err := command.NewDockerCli(p.Streams...)
	if err != nil {
		return nil, nil, err
	}
	theirs := &cobra.Command{}
	commands.AddCommands(theirs, docker)
	known := map[string]bool{}
	var each func(c *cobra.Command, path string, visit func(c *cobra.Command, path string))
	each = func(c *cobra.Command, path string, visit func(c *cobra.Command, path string)) {
		for _, below := range c.Commands() {
			visit(below, path+" "+below.Name())
			each(below, path+" "+below.Name(), visit)
		}
	}
	each(theirs, "", func(_ *cobra.Command, path string) { known[path] = true })
	top := p.tree(docker)
	top.SetArgs([]string{})
	if root, _, err = top.HandleGlobalFlags(); err != nil {
		return nil, nil, err
	}
	own = map[*cobra.Command]bool{}
	each(root, "", func(c *cobra.Command, path string) { own[c] = !known[path] })
	return root, own, nil
}

// tree is docker's commands with ours among them.
func (p Program) tree(docker *command.DockerCli) *dockercli.TopLevelCommand {
	root := &cobra.Command{
		Use:                   "linkspan [OPTIONS] COMMAND [ARG...]",
		Short:                 "Containers on networks that can be seen",
		Version:               p.Version,
		SilenceUsage:          true,
		SilenceErrors:         true,
		TraverseChildren:      true,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("linkspan: unknown command: linkspan %s\n\nRun 'linkspan --help' for more information", args[0])
			}
			return cmd.Help()
		},
	}
	root.SetIn(docker.In())
	root.SetOut(docker.Out())
	root.SetErr(docker.Err())
	options, _ := dockercli.SetupRootCommand(root)
	root.SetVersionTemplate("Linkspan version {{.Version}}\n")
	root.Annotations["additionalHelp"] = "What is Linkspan's own: network plan, diff, repair, shape; port ls, who, drops, inspect; firewall show, explain; doctor; trace; top; capture; debug dump; volume import; attach PID|PATH NETWORK, detach; state; teardown; migrate docker"
	root.Flags().BoolP("version", "v", false, "Print version information and quit")
	commands.AddCommands(root, docker)
	hideOthers(root)
	p.addVerbs(root, docker)
	return dockercli.NewTopLevelCommand(root, docker, options, root.Flags())
}

//docker:partly bake: by docker's plugin buildx, where that is installed

// hideOthers takes what needs a swarm or a builder out of the help. Called, it
// says itself what it misses.
func hideOthers(root *cobra.Command) {
	for _, c := range root.Commands() {
		_, swarm := c.Annotations["swarm"]
		c.Hidden = c.Hidden || swarm || c.Name() == "bake"
	}
}

// runPlugin runs a plugin of the docker command, such as compose, if the
// arguments name one that is installed.
func runPlugin(docker *command.DockerCli, root *cobra.Command, args []string) (done bool, err error) {
	if len(args) == 0 {
		return false, nil
	}
	if _, _, err := root.Find(args); err == nil {
		return false, nil // a command of ours or docker's
	}
	plugin, err := manager.PluginRunCommand(docker, args[0], root)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	return true, plugin.Run()
}
