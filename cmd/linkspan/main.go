// Linkspan is the command for what the docker command has no words for.
package main

import (
	"context"
	"os"

	"github.com/linkspan/linkspan/internal/cli"
)

func main() {
	os.Exit(cli.Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
