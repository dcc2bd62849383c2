package workload

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// Filters are the `--filter` conditions of a request: values of one key are
// alternatives, keys must all hold.
type Filters map[string][]string

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

// until reads the condition of that name: a moment, or how long ago it was.
func (f Filters) until(now time.Time) (time.Time, error) {
	switch values := f["until"]; {
	case len(values) == 0:
		return time.Time{}, nil
	case len(values) > 1:
		return time.Time{}, model.Errorf(model.Invalid, "more than one until filter specified")
	}
	return ParseMoment(f["until"][0], now)
}

// ParseMoment reads a time as Docker's clients write it: seconds since 1970 with
// an optional fraction, RFC 3339 in its shorter forms too, or a duration before
// now.
func ParseMoment(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	whole, fraction, _ := strings.Cut(text, ".")
	if n, err := strconv.ParseInt(whole, 10, 64); err == nil {
		nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
		if err != nil {
			return time.Time{}, model.Errorf(model.Invalid, "invalid time %q", text)
		}
		return time.Unix(n, nanos), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02Z07:00", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, model.Errorf(model.Invalid, "failed to parse value as time or duration: %q", text)
}
