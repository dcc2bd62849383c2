package report

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

// Flags are what is said to a command that plays a suite.
type Flags struct {
	All, JSON, Strict bool   // what is printed, and what is a failure
	Only              string // cases whose names begin like this
}

// Declare has the command line set them.
func (f *Flags) Declare() {
	flag.BoolVar(&f.All, "all", false, "print what holds as well")
	flag.BoolVar(&f.JSON, "json", false, "print an object for each result")
	flag.BoolVar(&f.Strict, "strict", false, "fail if a SHOULD is broken")
	flag.StringVar(&f.Only, "only", "", "play the cases whose names begin like this")
}

// Print writes a report. The status is 1 if a MUST is broken, or with Strict anything, or if nothing was played.
func (f Flags) Print(w io.Writer, name string, results []Result) (status int, err error) {
	if f.JSON {
		err = PrintJSON(w, name, results)
	} else {
		err = Print(w, name, results, f.All)
	}
	if s := Sum(results); s.BrokenMust > 0 || s.Held == 0 || f.Strict && s.BrokenShould > 0 {
		status = 1
	}
	return status, err
}

// PrintEach plays a suite against what each file describes, and writes a report of each. The status is the worst of theirs.
func (f Flags) PrintEach(w io.Writer, files []string, play func(file string) (name string, _ []Result, err error)) (status int, err error) {
	for _, file := range files {
		name, results, err := play(file)
		if err != nil {
			return 0, err
		}
		one, err := f.Print(w, name, results)
		if err != nil {
			return 0, err
		}
		status = max(status, one)
	}
	return status, nil
}

// Read reads a description from a file of JSON.
func Read(file string, into any) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
