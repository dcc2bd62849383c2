// Linkspand is the daemon: it reads its flags, puts the parts together and runs
// until it is told to end. Containers go on without it.
package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"github.com/linkspan/linkspan/internal/config"
)

// version is set when the program is built.
var version = "dev"

func main() {
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
	log, err := logger(c)
	if err != nil {
		return err
	}
	if c.Validate {
		fmt.Fprintln(os.Stderr, "configuration OK")
		return nil
	}
	var heard told
	ctx, stop := heard.listen()
	defer stop()
	d, err := start(ctx, c, &heard, log)
	if err != nil {
		return err
	}
	return d.serve(ctx)
}

func logger(c config.Config) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("invalid log level %q: use debug, info, warn or error", c.LogLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	switch c.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	}
	return nil, fmt.Errorf("invalid log format %q: use text or json", c.LogFormat)
}
