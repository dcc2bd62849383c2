// Linkspan-buildkitd builds images: BuildKit on the daemon's containerd and networks. linkspand
// starts it with the first build, tells it on its standard input what to do, and ends it
// when nobody has built for a while.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/linkspan/linkspan/internal/buildkitd"
	"github.com/linkspan/linkspan/internal/buildkitd/wire"
)

// version is set when the program is built.
var version = "dev"

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "linkspan-buildkitd:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader) error {
	flags := pflag.NewFlagSet("linkspan-buildkitd", pflag.ContinueOnError)
	levelName := flags.String("log-level", "info", "debug, info, warn or error")
	show := flags.Bool("version", false, "print the version and end")
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if *show {
		fmt.Println("linkspan-buildkitd version", version)
		return nil
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(*levelName)); err != nil {
		return fmt.Errorf("invalid log level %q: use debug, info, warn or error", *levelName)
	}
	input := bufio.NewReader(in)
	line, err := input.ReadBytes('\n')
	if err != nil {
		return errors.New("no configuration on standard input: linkspand starts this program by itself")
	}
	var c wire.Config
	if err := json.Unmarshal(line, &c); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if level > slog.LevelDebug { // of what BuildKit has to say
		logrus.SetLevel(logrus.ErrorLevel)
	}
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// The daemon holds the other end for as long as it lives. Its signal comes as well, and must not
	// end what is being cleared up: so signals are still caught then.
	ctx, end := context.WithCancel(ctx)
	defer end()
	go func() {
		io.Copy(io.Discard, input) //nolint:errcheck // however it ends
		end()
	}()
	return buildkitd.Run(ctx, c, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
}
