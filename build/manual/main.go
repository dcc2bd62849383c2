// Manual writes the programs' manual pages into a folder: manual FOLDER VERSION SECONDS, the last since 1970.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/linkspan/linkspan/internal/cli"
	"github.com/linkspan/linkspan/internal/cli/manual"
	"github.com/linkspan/linkspan/internal/config"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want FOLDER VERSION SECONDS")
	}
	seconds, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	h := manual.Header{Version: args[1], Date: time.Unix(seconds, 0)}
	root, own, err := cli.Program{Version: args[1]}.Commands()
	if err != nil {
		return err
	}
	pages := manual.Command(h, root, func(c *cobra.Command) bool { return own[c] })
	pages = append(pages, manual.Daemon(h, daemon()))
	for _, p := range pages {
		folder := filepath.Join(args[0], fmt.Sprintf("man%d", p.Section))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%s.%d", p.Name, p.Section)), []byte(p.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func daemon() manual.Program {
	return manual.Program{Name: "linkspand", Short: "container-network engine that speaks the Docker Engine API", About: about, Flags: config.Flags(), Files: files}
}

var about = []string{
	"linkspand gives this host the networks of containers, runs containers on containerd, and answers the docker command. It takes dockerd's flags and reads its daemon.json; a setting that it cannot " +
		"honour is answered with a sentence. A key of daemon.json is called like its flag, lists in the plural.",
	"SIGHUP has it read daemon.json again, SIGUSR1 write down what its goroutines are at. SIGTERM ends it; containers go on, unless live-restore is off. After SIGPWR they end with it, as the machine does. " +
		"linkspan teardown ends all and leaves the host as it was.",
}

var files = [][2]string{
	{config.DefaultConfigFile, "settings; need not be there"},
	{"/run/docker.sock", "socket of the API"},
	{"/run/linkspan/private.sock", "socket of the linkspan command, root's alone"},
	{"/var/lib/linkspan", "images, volumes, containers' files, and what networks there are"},
}
