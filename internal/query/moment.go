package query

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// maxFraction is how many digits may follow the point of a Unix time: those of
	// the largest number of 64 bits. What is below a nanosecond is cut off.
	maxFraction = 20
	// maxSeconds is the latest Unix time, in seconds, that time.Time can compute with.
	maxSeconds = 1 << 61
)

// Moment reads a point in time: seconds since 1970 ("1136073845",
// "1136073845.000000001"), a date as in RFC 3339 or a shorter one
// ("2006-01-02T15:04:05.999Z", "2006-01-02T15:04", "2006-01-02"), or how long
// before now it was ("10m", "1h30m"). A date without a zone is in the zone of now.
// The answer is in UTC and, but for a date in year 1, never the zero time.
// Errors are Invalid.
func Moment(text string, now time.Time) (time.Time, error) {
	if strings.TrimSpace(text) == "" {
		return time.Time{}, model.Errorf(model.Invalid, "failed to parse value as time or duration: value is empty")
	}
	if d, err := time.ParseDuration(text); err == nil && text != "0" {
		return now.Add(-d).UTC(), nil
	}
	at, err := unix(text)
	if err == nil {
		return at, nil
	}
	// A sign after the first byte is a date's.
	if strings.Contains(text, "-") {
		at, err = date(text, now)
		if err != nil {
			return time.Time{}, model.Errorf(model.Invalid, "%w", err)
		}
		return at, nil
	}
	return time.Time{}, model.Errorf(model.Invalid, "failed to parse value as time or duration: %w", err)
}

// date reads the forms of RFC 3339 that clients send.
func date(text string, now time.Time) (time.Time, error) {
	zoned := strings.ContainsAny(text, "zZ+") || strings.Count(text, "-") == 3
	form := dateForm(text, zoned)
	if zoned {
		at, err := time.Parse(form, text)
		return at.UTC(), err
	}
	at, err := time.ParseInLocation(form, text, time.FixedZone(now.Zone()))
	return at.UTC(), err
}

// dateForm returns the layout of a date, by how far it goes.
func dateForm(text string, zoned bool) string {
	_, clock, timed := strings.Cut(text, "T")
	form := time.DateOnly
	if timed {
		colons := strings.Count(clock, ":")
		if zoned && !strings.ContainsAny(clock, "zZ") {
			colons-- // that of the zone
		}
		switch {
		case colons <= 0:
			form = "2006-01-02T15"
		case colons == 1:
			form = "2006-01-02T15:04"
		default:
			form = "2006-01-02T15:04:05" // a fraction may follow in any case
		}
	}
	if zoned {
		form += "Z07:00"
	}
	return form
}

// unix reads seconds since 1970 and a fraction.
func unix(text string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err == nil && (seconds > maxSeconds || seconds < -maxSeconds) {
		err = strconv.ErrRange
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid seconds %q: %w", whole, cause(err))
	}
	if len(fraction) > maxFraction {
		return time.Time{}, fmt.Errorf("invalid nanoseconds: length %d exceeds maximum %d", len(fraction), maxFraction)
	}
	if i := strings.IndexFunc(fraction, func(c rune) bool { return c < '0' || c > '9' }); i >= 0 {
		return time.Time{}, fmt.Errorf("invalid nanoseconds: invalid character %q at position %d", fraction[i], i)
	}
	nanos := int64(0)
	for i := range 9 {
		nanos *= 10
		if i < len(fraction) {
			nanos += int64(fraction[i] - '0')
		}
	}
	return time.Unix(seconds, nanos).UTC(), nil
}

// cause leaves out of an error of strconv what function it was that failed.
func cause(err error) error {
	var number *strconv.NumError
	if errors.As(err, &number) {
		return number.Err
	}
	return err
}
