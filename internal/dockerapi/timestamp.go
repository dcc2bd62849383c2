package dockerapi

import (
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// dateForms are the ways a date may be written, besides seconds since 1970 and
// durations. A date without a zone is in the daemon's.
func dateForms() []string {
	return []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05",
		"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02Z07:00", "2006-01-02",
	}
}

// parseTime reads a point in time: "1136073845", "1136073845.000000001",
// "2006-01-02T15:04:05Z" or, counted back from now, "10m". Empty is the zero
// time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, ok := parseUnix(text); ok {
		return at, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, form := range dateForms() {
		if at, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, model.Errorf(model.Invalid, "invalid timestamp: %q", text)
}

// parseUnix reads seconds since 1970 with up to nine digits of a fraction. Zero
// means, as ever, no time.
func parseUnix(text string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || len(fraction) > 9 {
		return time.Time{}, false
	}
	nanos, err := strconv.ParseInt("0"+fraction+strings.Repeat("0", 9-len(fraction)), 10, 64)
	if err != nil || strings.HasPrefix(fraction, "-") {
		return time.Time{}, false
	}
	if seconds == 0 && nanos == 0 {
		return time.Time{}, true
	}
	return time.Unix(seconds, nanos), true
}
