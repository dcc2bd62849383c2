package wire

import (
	"encoding/json"
	"fmt"
	"iter"

	"github.com/linkspan/linkspan/internal/desired"
)

// PartSize is how long a part of a message should be at most, in bytes. What users may
// ask for has no such bound: a container may have tens of thousands of aliases.
const PartSize = 4 << 20

// Split yields items in parts that take no more than size bytes as JSON, and whether
// more follow. A part has one item at least, and there is one part at least.
func Split[T any](items []T, size int) iter.Seq2[[]T, bool] {
	return func(yield func([]T, bool) bool) {
		begin, length := 0, 0
		for i := range items {
			raw, err := json.Marshal(items[i])
			if err != nil {
				raw = nil // whoever sends it is told
			}
			if i > begin && length+len(raw) > size {
				if !yield(items[begin:i], true) {
					return
				}
				begin, length = i, 0
			}
			length += len(raw) + 1
		}
		yield(items[begin:], false)
	}
}

// Parts yields an inventory in parts, each with More set unless it is the last.
func (i Inventory) Parts(size int) iter.Seq[Inventory] {
	return func(yield func(Inventory) bool) {
		first := Inventory{Descriptors: i.Descriptors, Firewall: i.Firewall}
		for rows, more := range Split(i.Rows, size) {
			first.Rows, first.More = rows, more || len(i.Policies) > 0 || len(i.Outputs) > 0
			if !yield(first) {
				return
			}
			first.Descriptors, first.Firewall = 0, nil
		}
		for policies, more := range Split(i.Policies, size) {
			if len(policies) > 0 && !yield(Inventory{Policies: policies, More: more || len(i.Outputs) > 0}) {
				return
			}
		}
		if len(i.Outputs) == 0 {
			return
		}
		for outputs, more := range Split(i.Outputs, size) {
			if !yield(Inventory{Outputs: outputs, More: more}) {
				return
			}
		}
	}
}

// Add adds another part.
func (i *Inventory) Add(part Inventory) {
	i.Rows, i.Outputs = append(i.Rows, part.Rows...), append(i.Outputs, part.Outputs...)
	i.Policies = append(i.Policies, part.Policies...)
	i.More = part.More
}

// PackReport returns the wire form of a report. Of what is longer than PartSize only
// the beginning is passed on, and how much more there is.
func PackReport(r desired.Report) Report {
	length := 0
	for n, line := range r.Drift {
		if length += len(line); length > PartSize {
			r.Drift = append(r.Drift[:n:n], fmt.Sprintf("%d more differences", len(r.Drift)-n))
			break
		}
	}
	return Report(r)
}
