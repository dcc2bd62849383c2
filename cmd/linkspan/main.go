// Linkspan is the docker command and what it has no words for.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/linkspan/linkspan/internal/cli"
	"github.com/linkspan/linkspan/internal/hostports"
	"github.com/linkspan/linkspan/internal/kernel/survey"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends what does not heed the first
	looks := survey.New(survey.Options{Listeners: hostports.Listeners})
	status := cli.Program{Version: version, Args: os.Args[1:], Surveyor: looks, Describer: looks, Tracer: looks}.Run(ctx)
	looks.Close()
	os.Exit(status)
}
