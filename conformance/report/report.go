// Package report says what came of a conformance suite, to people and to programs.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Level says how binding a sentence of a specification is (RFC 2119).
type Level string

// Levels.
const (
	Must   Level = "MUST"
	Should Level = "SHOULD"
)

// Result is what came of one case.
type Result struct {
	Case, Spec string
	Level      Level
	// Version of the specification that it was played in; empty if there is one only.
	Version string
	// Err is nil if it holds. Skipped says why it was not played.
	Err     error
	Skipped string
}

// Summary counts results.
type Summary struct {
	Held, BrokenMust, BrokenShould, Skipped int
}

// Sum counts results.
func Sum(results []Result) (s Summary) {
	for _, r := range results {
		switch {
		case r.Skipped != "":
			s.Skipped++
		case r.Err == nil:
			s.Held++
		case r.Level == Must:
			s.BrokenMust++
		default:
			s.BrokenShould++
		}
	}
	return s
}

// String is the last line of a report.
func (s Summary) String() string {
	return fmt.Sprintf("%d held, %d MUST broken, %d SHOULD broken, %d not played", s.Held, s.BrokenMust, s.BrokenShould, s.Skipped)
}

// Print writes a report of what has a name for people: what is broken, with the sentence
// of the specification; all lists what holds as well.
func Print(w io.Writer, name string, results []Result, all bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range results {
		switch {
		case r.Skipped != "":
			if all {
				fmt.Fprintf(table, "-\t%s\t\t%s\n", r.Case, r.Skipped)
			}
		case r.Err != nil:
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.Level, r.Case, r.Version, strings.ReplaceAll(r.Err.Error(), "\n", "; "))
			fmt.Fprintf(table, "\t\t\t“%s”\n", r.Spec)
		case all:
			fmt.Fprintf(table, "ok\t%s\t%s\t\n", r.Case, r.Version)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", name, Sum(results))
	return err
}

// PrintJSON writes a report for programs: an object a result.
func PrintJSON(w io.Writer, name string, results []Result) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, r := range results {
		line := struct {
			Plugin, Case, Spec string
			Level              Level
			Version            string `json:",omitempty"`
			Held               bool
			Error, Skipped     string `json:",omitempty"`
		}{Plugin: name, Case: r.Case, Spec: r.Spec, Level: r.Level, Version: r.Version, Held: r.Err == nil && r.Skipped == "", Skipped: r.Skipped}
		if r.Err != nil {
			line.Error = r.Err.Error()
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}
