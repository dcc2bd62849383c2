package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// errNotRun is for what one side is not asked to do: it would take minutes.
var errNotRun = errors.New("not run")

// target is what a row is held against. The zero target is none.
type target struct {
	ratio bool    // of linkspan's figure divided by docker.io's, not of linkspan's own
	least bool    // the bound is a lower one
	bound float64 // inclusive
	note  string  // what the bound was made from
}

// The targets there are: of the ratio, and of our own figure.
func ratioAtMost(x float64) target  { return target{ratio: true, bound: x} }
func ratioAtLeast(x float64) target { return target{ratio: true, least: true, bound: x} }
func atMost(x float64) target       { return target{bound: x} }
func atLeast(x float64) target      { return target{least: true, bound: x} }

// String is the target as it is printed.
func (t target) String() string {
	if t == (target{}) {
		return ""
	}
	sign, unit := "<=", ""
	if t.least {
		sign = ">="
	}
	if t.ratio {
		unit = "x"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %.4g%s %s", sign, t.bound, unit, t.note))
}

// figure is one number, or why there is none.
type figure struct {
	value float64
	err   error
}

// row is one measurement on both sides.
type row struct {
	what, unit       string
	linkspan, docker figure
	target           target
}

// verdict is "ok", "missed", or nothing where there is no target or nothing to hold it against.
func (r row) verdict() string {
	value := r.linkspan.value
	switch {
	case r.target == (target{}):
		return ""
	case r.linkspan.err != nil:
		return "missed"
	case r.target.ratio && (r.docker.err != nil || r.docker.value == 0):
		return "?"
	case r.target.ratio:
		value /= r.docker.value
	}
	if value == r.target.bound || value > r.target.bound == r.target.least {
		return "ok"
	}
	return "missed"
}

// table prints rows.
type table struct {
	to         io.Writer
	ok, missed int
	notes      []string
}

// line prints one line in columns.
func (t *table) line(columns ...any) {
	fmt.Fprintf(t.to, "%-58s %14s %14s %7s  %-22s %s\n", columns...)
}

// head prints what is compared and the columns' names.
func (t *table) head(title string) {
	fmt.Fprintln(t.to, title)
	t.line("what", "linkspan", "docker.io", "ratio", "target", "")
}

// foot prints what was counted, and why what has no figure has none.
func (t *table) foot(closing string) {
	fmt.Fprintf(t.to, "%d ok, %d missed; %s\n", t.ok, t.missed, closing)
	for _, note := range t.notes {
		fmt.Fprintln(t.to, note)
	}
}

// add prints a row.
func (t *table) add(r row) {
	ratio, verdict := "", r.verdict()
	if r.linkspan.err == nil && r.docker.err == nil && r.linkspan.value > 0 && r.docker.value > 0 {
		ratio = fmt.Sprintf("%.2fx", r.linkspan.value/r.docker.value)
	}
	switch verdict {
	case "ok":
		t.ok++
	case "missed":
		t.missed++
	}
	t.line(r.what, t.cell(r, r.linkspan), t.cell(r, r.docker), ratio, r.target.String(), verdict)
}

// cell is a figure as it is printed.
func (t *table) cell(r row, f figure) string {
	switch {
	case errors.Is(f.err, errNotRun):
		return "not run"
	case f.err != nil:
		t.note(f.err.Error())
		return "failed"
	case f.value >= 1000:
		return fmt.Sprintf("%.0f %s", f.value, r.unit)
	}
	return fmt.Sprintf("%.3g %s", f.value, r.unit)
}

// note keeps what is said below the table. Several rows may have failed for one reason.
func (t *table) note(text string) {
	if !slices.Contains(t.notes, text) {
		t.notes = append(t.notes, text)
	}
}

// measure takes a figure times times on both sides by turns, and prints the medians.
func (b *bench) measure(ctx context.Context, r row, times int, of func(context.Context, *side) (float64, error)) {
	b.measureAll(ctx, []row{r}, times, func(ctx context.Context, s *side) ([]float64, error) {
		value, err := of(ctx, s)
		return []float64{value}, err
	})
}

// measureAll does the same with several figures that are found together, one for each row. A side that fails is not
// asked again.
func (b *bench) measureAll(ctx context.Context, rows []row, times int, of func(context.Context, *side) ([]float64, error)) {
	var found [2][][]float64
	var failed [2]error
	for range times {
		for i, s := range b.sides() {
			if failed[i] != nil || ctx.Err() != nil {
				continue
			}
			values, err := of(ctx, s)
			if err != nil && !errors.Is(err, errNotRun) {
				err = fmt.Errorf("%s: %s: %w", s.name, rows[0].what, err)
			}
			if failed[i] = err; err == nil {
				found[i] = append(found[i], values)
			}
		}
	}
	for i, r := range rows {
		r.linkspan, r.docker = median(found[0], i, failed[0]), median(found[1], i, failed[1])
		b.table.add(r)
	}
}

// median is the middle one of the i-th values, unless there was an error.
func median(found [][]float64, i int, err error) figure {
	if err == nil && len(found) == 0 {
		err = context.Canceled
	}
	if err != nil {
		return figure{err: err}
	}
	var values []float64
	for _, one := range found {
		values = append(values, one[i])
	}
	slices.Sort(values)
	return figure{value: values[len(values)/2]}
}
