// Command cni-conformance plays the conformance suite of CNI against plugins and prints a
// report of each. A plugin is described by a JSON file (conformance/cni.Plugin).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/linkspan/linkspan/conformance/cni"
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

// run returns 1 if a plugin breaks a MUST, or with -strict anything.
func run(ctx context.Context) (status int, err error) {
	all := flag.Bool("all", false, "print what holds as well")
	asJSON := flag.Bool("json", false, "print an object for each result")
	strict := flag.Bool("strict", false, "fail if a SHOULD is broken")
	only := flag.String("only", "", "play the cases whose names begin like this")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: cni-conformance [-all] [-json] [-strict] [-only PREFIX] PLUGIN.json…\nto be run as root on a host where namespaces named conform… do no harm")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		return 2, nil
	}
	for _, file := range flag.Args() {
		p, err := read(file)
		if err != nil {
			return 0, err
		}
		results, err := cni.Run(ctx, p, *only)
		if err != nil {
			return 0, err
		}
		if *asJSON {
			err = cni.PrintJSON(os.Stdout, p, results)
		} else {
			err = cni.Print(os.Stdout, p, results, *all)
		}
		if err != nil {
			return 0, err
		}
		if s := cni.Sum(results); s.BrokenMust > 0 || s.Held == 0 || *strict && s.BrokenShould > 0 {
			status = 1
		}
	}
	return status, nil
}

func read(file string) (p cni.Plugin, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return p, fmt.Errorf("%s: %w", file, err)
	}
	if p.Binary == "" || p.Config == nil {
		return p, fmt.Errorf("%s: binary and config must be there", file)
	}
	return p, nil
}
