package cni

import (
	"io"

	"github.com/linkspan/linkspan/conformance/report"
)

// Level says how binding a sentence of the specification is (RFC 2119).
type Level = report.Level

// Levels.
const (
	Must   = report.Must
	Should = report.Should
)

// Summary counts results.
type Summary = report.Summary

// Sum counts results.
func Sum(results []Result) Summary { return report.Sum(lines(results)) }

// Print writes a report for people: what is broken, with the sentence of the
// specification; all lists what holds as well.
func Print(w io.Writer, p Plugin, results []Result, all bool) error {
	return report.Print(w, p.Name, lines(results), all)
}

// PrintJSON writes a report for programs: an object a result.
func PrintJSON(w io.Writer, p Plugin, results []Result) error {
	return report.PrintJSON(w, p.Name, lines(results))
}

func lines(results []Result) []report.Result {
	out := make([]report.Result, 0, len(results))
	for _, r := range results {
		out = append(out, report.Result{Case: r.Case.Name, Spec: r.Case.Spec, Level: r.Case.Level, Version: r.Version, Err: r.Err, Skipped: r.Skipped})
	}
	return out
}
