// Linkspan is the docker command and what it has no words for.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/linkspan/linkspan/internal/cli"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends what does not heed the first
	os.Exit(cli.Program{Version: version, Args: os.Args[1:]}.Run(ctx))
}
