package cni

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

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
		case r.Case.Level == Must:
			s.BrokenMust++
		default:
			s.BrokenShould++
		}
	}
	return s
}

func (s Summary) String() string {
	return fmt.Sprintf("%d held, %d MUST broken, %d SHOULD broken, %d not played", s.Held, s.BrokenMust, s.BrokenShould, s.Skipped)
}

// Print writes a report for people: what is broken, with the sentence of the
// specification; all lists what holds as well.
func Print(w io.Writer, p Plugin, results []Result, all bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range results {
		switch {
		case r.Skipped != "":
			if all {
				fmt.Fprintf(table, "-\t%s\t\t%s\n", r.Case.Name, r.Skipped)
			}
		case r.Err != nil:
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.Case.Level, r.Case.Name, r.Version, strings.ReplaceAll(r.Err.Error(), "\n", "; "))
			fmt.Fprintf(table, "\t\t\t“%s”\n", r.Case.Spec)
		case all:
			fmt.Fprintf(table, "ok\t%s\t%s\t\n", r.Case.Name, r.Version)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", p.Name, Sum(results))
	return err
}

// PrintJSON writes a report for programs: an object a result.
func PrintJSON(w io.Writer, p Plugin, results []Result) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, r := range results {
		line := struct {
			Plugin, Case, Spec string
			Level              Level
			Version            string `json:",omitempty"`
			Held               bool
			Error, Skipped     string `json:",omitempty"`
		}{Plugin: p.Name, Case: r.Case.Name, Spec: r.Case.Spec, Level: r.Case.Level, Version: r.Version, Held: r.Err == nil && r.Skipped == "", Skipped: r.Skipped}
		if r.Err != nil {
			line.Error = r.Err.Error()
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}
