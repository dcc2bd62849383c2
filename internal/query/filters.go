package query

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// Filters are the `--filter` conditions of a request: values of one key are
// alternatives, keys must all hold.
type Filters map[string][]string

// ParseFilters reads filters in either form that clients send:
// {"label":{"a=b":true}}, or {"label":["a=b"]}. Nothing is no filter. Errors are
// Invalid.
func ParseFilters(text string) (Filters, error) {
	out := Filters{}
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

// Check refuses keys that are not among known, in Docker's words.
func (f Filters) Check(known ...string) error {
	for _, key := range slices.Sorted(maps.Keys(f)) {
		if !slices.Contains(known, key) {
			return model.Errorf(model.Invalid, "invalid filter '%s'", key)
		}
	}
	return nil
}

// Has tells whether the key has a condition.
func (f Filters) Has(key string) bool { return len(f[key]) > 0 }

// Match tells whether the key has no condition, or one that holds.
func (f Filters) Match(key string, holds func(value string) bool) bool {
	return !f.Has(key) || slices.ContainsFunc(f[key], holds)
}

// MatchExact tells whether the key has no condition, or one that is text.
func (f Filters) MatchExact(key, text string) bool {
	return f.Match(key, func(want string) bool { return want == text })
}

// MatchPrefix tells whether the key has no condition, or one that text begins
// with.
func (f Filters) MatchPrefix(key, text string) bool {
	return f.Match(key, func(want string) bool { return strings.HasPrefix(text, want) })
}

// MatchPattern tells whether the key has no condition, or one that text is, or
// holds a match of as a regular expression. What is no expression matches nothing
// else; the engine of the expressions is linear in time.
func (f Filters) MatchPattern(key, text string) bool {
	return f.Match(key, func(want string) bool {
		if want == text {
			return true
		}
		matched, err := regexp.MatchString(want, text)
		return err == nil && matched
	})
}

// MatchLabels tells whether all of the key's conditions, "name" or "name=value",
// hold for labels.
func (f Filters) MatchLabels(key string, labels map[string]string) bool {
	for _, want := range f[key] {
		name, value, valued := strings.Cut(want, "=")
		if got, ok := labels[name]; !ok || valued && got != value {
			return false
		}
	}
	return true
}

// MatchAllLabels tells whether labels meet the conditions of both keys: all of
// "label", and not all of "label!".
func (f Filters) MatchAllLabels(labels map[string]string) bool {
	return f.MatchLabels("label", labels) && (!f.Has("label!") || !f.MatchLabels("label!", labels))
}

// Bool reads a condition that is true or false; given is false, and value too, if
// it is not there. Errors are Invalid: a condition that is neither, or both.
func (f Filters) Bool(key string) (value, given bool, err error) {
	values, given := f[key]
	switch {
	case !given:
		return false, false, nil
	case len(values) == 0:
		return false, true, model.Errorf(model.Invalid, "invalid filter '%s'", key)
	}
	yes := slices.Contains(values, "1") || slices.Contains(values, "true")
	no := slices.Contains(values, "0") || slices.Contains(values, "false")
	if yes == no {
		return false, true, model.Errorf(model.Invalid, "invalid filter '%s=%s'", key, values)
	}
	return yes, true, nil
}

// Until reads the condition of that name, a moment; the zero time if it is not
// there. Errors are Invalid.
func (f Filters) Until(now time.Time) (time.Time, error) {
	switch values := f["until"]; len(values) {
	case 0:
		return time.Time{}, nil
	case 1:
		return Moment(values[0], now)
	}
	return time.Time{}, model.Errorf(model.Invalid, "more than one until filter specified")
}

// Pairs reads conditions of the form "name=value"; a name alone has an empty value.
func Pairs(conditions []string) map[string]string {
	out := make(map[string]string, len(conditions))
	for _, text := range conditions {
		name, value, _ := strings.Cut(text, "=")
		out[name] = value
	}
	return out
}
