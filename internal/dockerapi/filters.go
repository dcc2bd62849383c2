package dockerapi

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/workload"
)

// filters reads the query's filters.
func (r *request) filters() (workload.Filters, error) { return parseFilters(r.query.Get("filters")) }

// parseFilters reads filters in either form that clients send:
// {"label":{"a=b":true}}, or {"label":["a=b"]}.
func parseFilters(text string) (workload.Filters, error) {
	out := workload.Filters{}
	if text == "" {
		return out, nil
	}
	var sets map[string]map[string]bool
	if err := json.Unmarshal([]byte(text), &sets); err == nil {
		for key, values := range sets {
			out[key] = slices.Sorted(maps.Keys(values))
		}
		return out, nil
	}
	var lists map[string][]string
	if err := json.Unmarshal([]byte(text), &lists); err != nil {
		return nil, model.Errorf(model.Invalid, "invalid filter")
	}
	for key, values := range lists {
		slices.Sort(values)
		out[key] = slices.Compact(values)
	}
	return out, nil
}

// matchPattern tells whether the key has no condition, or one that source equals
// or matches as a regular expression.
func matchPattern(f workload.Filters, key, source string) bool {
	return f.Match(key, func(want string) bool {
		if want == source {
			return true
		}
		matched, err := regexp.MatchString(want, source)
		return err == nil && matched
	})
}

// matchExact tells whether the key has no condition, or one that is source.
func matchExact(f workload.Filters, key, source string) bool {
	return f.Match(key, func(want string) bool { return want == source })
}

// matchPrefix tells whether the key has no condition, or one that source begins
// with.
func matchPrefix(f workload.Filters, key, source string) bool {
	return f.Match(key, func(want string) bool { return strings.HasPrefix(source, want) })
}

// truth reads a filter that is true or false; given is false if it is not there.
func truth(f workload.Filters, key string) (value, given bool, err error) {
	if !f.Has(key) {
		return false, false, nil
	}
	if len(f[key]) > 1 {
		return false, false, model.Errorf(model.Invalid, "got more than one value for filter key %q", key)
	}
	switch f[key][0] {
	case "1", "true":
		return true, true, nil
	case "0", "false":
		return false, true, nil
	}
	return false, false, model.Errorf(model.Invalid, `invalid value for filter '%s', must be "true" (or "1"), or "false" (or "0")`, key)
}
