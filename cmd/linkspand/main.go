// Linkspand is the daemon: it reads its flags, puts the parts together and runs
// until it is told to end. Containers go on without it.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/recentlog"
)

// version is set when the program is built, and so are the commit that it is built from and when that was made
// (RFC 3339): not when it was built, which says nothing of a program that others can build again.
var (
	version = "dev"
	commit  string
	built   string
)

func main() {
	// The journal that reads what we say may go before we do.
	signal.Ignore(syscall.SIGPIPE)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "linkspand:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 && (args[0] == "--version" || args[0] == "-v") {
		fmt.Println("linkspand version", version)
		return nil
	}
	c, err := config.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.Validate {
		fmt.Fprintln(os.Stderr, "configuration OK")
		return nil
	}
	level := new(slog.LevelVar)
	level.Set(levelOf(c, c.Settings))
	lines := recentlog.New(os.Stderr)
	log := logger(lines, c, level)
	for _, line := range c.WithoutEffect() {
		log.Info(line, "op", "daemon.start")
	}
	heard := newTold()
	ctx, stop := heard.listen()
	defer stop()
	d, err := start(ctx, c, heard, log)
	if err != nil {
		return fmt.Errorf("failed to start daemon: %w", err)
	}
	d.recent = lines
	return d.serve(ctx, reloader{daemon: d, args: args, level: level})
}

func logger(to io.Writer, c config.Config, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, o))
	}
	return slog.New(slog.NewTextHandler(to, o))
}

// levelOf returns the level that is logged from, under settings s.
func levelOf(c config.Config, s config.Settings) slog.Level {
	level := slog.LevelInfo
	if s.Debug {
		return slog.LevelDebug
	}
	_ = level.UnmarshalText([]byte(c.LogLevel)) // is one of slog's: config sees to it
	return level
}
