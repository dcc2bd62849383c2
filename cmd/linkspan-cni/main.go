// Linkspan-cni is the CNI plugin: it attaches the network namespaces of other container
// runtimes to networks of linkspan, by asking the daemon.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/linkspan/linkspan/internal/cni"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	call := cni.Call{
		Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Version: version,
		Daemon: func(socket string) cni.Daemon { return privateapi.Client{Socket: socket} },
	}
	status := call.Run(ctx)
	stop()
	os.Exit(status)
}
