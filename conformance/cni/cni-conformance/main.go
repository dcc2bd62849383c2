// Command cni-conformance plays the conformance suite of CNI against plugins and prints a
// report of each. A plugin is described by a JSON file (conformance/cni.Plugin).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/linkspan/linkspan/conformance/cni"
	"github.com/linkspan/linkspan/conformance/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	status, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cni-conformance:", err)
		status = 2
	}
	os.Exit(status)
}

func run(ctx context.Context) (status int, err error) {
	var flags report.Flags
	flags.Declare()
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: cni-conformance [-all] [-json] [-strict] [-only PREFIX] PLUGIN.json…\nto be run as root on a host where namespaces named conform… do no harm")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		return 2, nil
	}
	return flags.PrintEach(os.Stdout, flag.Args(), func(file string) (string, []report.Result, error) {
		p, err := read(file)
		if err != nil {
			return "", nil, err
		}
		results, err := cni.Run(ctx, p, flags.Only)
		return p.Name, results, err
	})
}

func read(file string) (p cni.Plugin, err error) {
	if err := report.Read(file, &p); err != nil {
		return p, err
	}
	if p.Binary == "" || p.Config == nil {
		return p, fmt.Errorf("%s: binary and config must be there", file)
	}
	return p, nil
}
