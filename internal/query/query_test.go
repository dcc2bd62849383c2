package query

import (
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// TestBool: the words for no, as dockerd's door has them, and that all else is yes.
func TestBool(t *testing.T) {
	for _, no := range []string{"", "0", "no", "false", "none", "False", "FALSE", "No", "None", " false ", "\tno\n", "  "} {
		if Bool(no) {
			t.Errorf("%q is true", no)
		}
	}
	for _, yes := range []string{"1", "true", "True", "yes", "on", "foo", "00", "f", "off", "null"} {
		if !Bool(yes) {
			t.Errorf("%q is false", yes)
		}
	}
}

// TestMoment: every form in Docker's own table of them, and those it refuses.
func TestMoment(t *testing.T) {
	now := time.Date(2020, 1, 2, 3, 4, 5, 123456789, time.UTC)
	for text, want := range map[string]string{
		"2006-01-02T15:04:05.999999999+07:00": "2006-01-02T08:04:05.999999999Z",
		"2006-01-02T15:04:05.999999999Z":      "2006-01-02T15:04:05.999999999Z",
		"2006-01-02T15:04:05.999999999":       "2006-01-02T15:04:05.999999999Z",
		"2006-01-02T15:04:05.5-07:00":         "2006-01-02T22:04:05.5Z",
		"2006-01-02T15:04:05Z":                "2006-01-02T15:04:05Z",
		"2006-01-02T15:04:05":                 "2006-01-02T15:04:05Z",
		"2006-01-02T15:04Z":                   "2006-01-02T15:04:00Z",
		"2006-01-02T15:04+00:00":              "2006-01-02T15:04:00Z",
		"2006-01-02T15:04-00:00":              "2006-01-02T15:04:00Z",
		"2006-01-02T15:04":                    "2006-01-02T15:04:00Z",
		"2006-01-02T15Z":                      "2006-01-02T15:00:00Z",
		"2006-01-02T15+00:00":                 "2006-01-02T15:00:00Z",
		"2006-01-02T15-00:00":                 "2006-01-02T15:00:00Z",
		"2006-01-02T15":                       "2006-01-02T15:00:00Z",
		"2006-01-02T1Z":                       "2006-01-02T01:00:00Z",
		"2006-01-02T1":                        "2006-01-02T01:00:00Z",
		"2006-01-02+00:00":                    "2006-01-02T00:00:00Z",
		"2006-01-02-00:00":                    "2006-01-02T00:00:00Z",
		"2006-01-02-00:01":                    "2006-01-02T00:01:00Z",
		"2006-01-02Z":                         "2006-01-02T00:00:00Z",
		"2006-01-02":                          "2006-01-02T00:00:00Z",
		"0":                                   "1970-01-01T00:00:00Z",
		"0.0":                                 "1970-01-01T00:00:00Z",
		"-5":                                  "1969-12-31T23:59:55Z",
		"1136073600":                          "2006-01-01T00:00:00Z",
		"1136073600.":                         "2006-01-01T00:00:00Z",
		"1136073600.0":                        "2006-01-01T00:00:00Z",
		"1136073600.1":                        "2006-01-01T00:00:00.1Z",
		"1136073600.000000001":                "2006-01-01T00:00:00.000000001Z",
		"1136073600.0000000010":               "2006-01-01T00:00:00.000000001Z",
		"1136073600.0000000009":               "2006-01-01T00:00:00Z",
		"1136073600.00000000000000000001":     "2006-01-01T00:00:00Z",
		"-1m":                                 "2020-01-02T03:05:05.123456789Z",
		"0m":                                  "2020-01-02T03:04:05.123456789Z",
		"10m":                                 "2020-01-02T02:54:05.123456789Z",
		"1.5h":                                "2020-01-02T01:34:05.123456789Z",
		"1h30m":                               "2020-01-02T01:34:05.123456789Z",
	} {
		got, err := Moment(text, now)
		if err != nil || got.Format(time.RFC3339Nano) != want || got.Location() != time.UTC {
			t.Errorf("%q: %v, error %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "2006-01-02T15:04:0Z", "2006-01-02T15:04:0", "2006-01-02T15:0Z", "2006-01-02T15:0", "2006-01-02TZ", "2006-01-02T",
		" 1136073600 \t", "foo.bar", "1136073600.bar", "1136073600.-1", "1136073600.000000001bar", "1136073600.000000000000000000001", "invalid",
		".0000000009", "9223372036854775808", "9223372036854775807", "1,5",
	} {
		if got, err := Moment(text, now); model.KindOf(err) != model.Invalid || strings.Contains(err.Error(), "strconv") {
			t.Errorf("%q: %v, error %v", text, got, err)
		}
	}
}

// TestMomentIsInTheZoneOfNow: a date without a zone means the daemon's.
func TestMomentIsInTheZoneOfNow(t *testing.T) {
	now := time.Date(2020, 1, 2, 3, 4, 5, 0, time.FixedZone("X", 3600))
	for _, text := range []string{"2006-01-02T15:04", "2006-01-02T15:04:00", "2006-01-02T15"} {
		if got, err := Moment(text, now); err != nil || got.Hour() != 14 {
			t.Errorf("%s: %s (%v)", text, got, err)
		}
	}
}

func TestUint32(t *testing.T) {
	for text, want := range map[string]any{
		"0": uint32(0), "80": uint32(80), "4294967295": uint32(4294967295),
		"": strconv.ErrSyntax, "x": strconv.ErrSyntax, "+1": strconv.ErrSyntax, "-+1": strconv.ErrSyntax, "-": strconv.ErrSyntax, " 1": strconv.ErrSyntax, "1.5": strconv.ErrSyntax,
		"-1": strconv.ErrRange, "4294967296": strconv.ErrRange,
	} {
		got, err := Uint32(text)
		if e, fails := want.(error); fails && !errors.Is(err, e) || !fails && (err != nil || got != want) {
			t.Errorf("%q: %d, error %v; want %v", text, got, err, want)
		}
	}
}

// TestParseFilters: both forms that there are, and what is neither.
func TestParseFilters(t *testing.T) {
	for text, want := range map[string]Filters{
		"":                              {},
		"{}":                            {},
		"null":                          {},
		`{"key": ["value"]}`:            {"key": {"value"}},
		`{"key": {"value": true}}`:      {"key": {"value"}},
		`{"key": ["v2", "v1", "v2"]}`:   {"key": {"v1", "v2"}},
		`{"k":{"v1":true,"v2":true}}`:   {"k": {"v1", "v2"}},
		`{"k1": ["v1"], "k2": ["v2"]}`:  {"k1": {"v1"}, "k2": {"v2"}},
		`{"k1":{"v":true},"k2":{}}`:     {"k1": {"v"}, "k2": nil},
		`{"dangling": {"true": false}}`: {"dangling": {"true"}},
	} {
		if got, err := ParseFilters(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, error %v", text, got, err)
		}
	}
	for _, text := range []string{"anything", "['a','list']", "{'key': 'value'}", `{"key": "value"}`, `{"key": [1]}`, `{"key": true}`, `[]`, `"key"`, `{"a":["x"],"b":{"y":true}}`, `{`} {
		if got, err := ParseFilters(text); model.KindOf(err) != model.Invalid || err.Error() != "invalid filter" {
			t.Errorf("%s: %v, error %v", text, got, err)
		}
	}
}

func TestFilters(t *testing.T) {
	f := Filters{"name": {"^we", "("}, "yes": {"1", "true"}, "no": {"false"}, "both": {"0", "true"}, "odd": {"maybe"}, "empty": {}, "label": {"a", "b=1"}}
	for what, c := range map[string]struct{ got, want any }{
		"a pattern":                         {f.MatchPattern("name", "web"), true},
		"another":                           {f.MatchPattern("name", "aweb"), false},
		"what is no pattern, as it is":      {f.MatchPattern("name", "("), true},
		"exactly":                           {f.MatchExact("name", "^we"), true},
		"not exactly":                       {f.MatchExact("name", "we"), false},
		"the beginning":                     {f.MatchPrefix("name", "^web"), true},
		"no condition":                      {f.MatchExact("none", "x"), true},
		"a key without values":              {f.MatchPrefix("empty", "x"), true},
		"labels":                            {f.MatchLabels("label", map[string]string{"a": "", "b": "1"}), true},
		"one label short":                   {f.MatchLabels("label", map[string]string{"a": ""}), false},
		"keys that are known":               {f.Check("name", "yes", "no", "both", "odd", "empty", "label"), error(nil)},
		"the first key that is not, sorted": {f.Check("name").Error(), "invalid filter 'both'"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v", what, c.got)
		}
	}
	for key, want := range map[string]string{
		"yes": "true true <nil>", "no": "false true <nil>", "none": "false false <nil>",
		"both": "false true invalid filter 'both=[0 true]'", "odd": "false true invalid filter 'odd=[maybe]'", "empty": "false true invalid filter 'empty'",
	} {
		value, given, err := f.Bool(key)
		if got := strings.Join([]string{strconv.FormatBool(value), strconv.FormatBool(given), errorText(err)}, " "); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		until []string
		want  string
	}{{nil, "0001-01-01 00:00:00 +0000 UTC <nil>"}, {[]string{"10s"}, "1970-01-01 00:16:30 +0000 UTC <nil>"},
		{[]string{"1", "2"}, "0001-01-01 00:00:00 +0000 UTC more than one until filter specified"},
		{[]string{""}, "0001-01-01 00:00:00 +0000 UTC failed to parse value as time or duration: value is empty"}} {
		at, err := Filters{"until": c.until}.Until(now)
		if got := at.String() + " " + errorText(err); got != c.want {
			t.Errorf("%v: %s", c.until, got)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return "<nil>"
	}
	return err.Error()
}

func FuzzMoment(f *testing.F) {
	for _, text := range []string{"1136073600.000000001", "10m", "2006-01-02T15:04:05.999999999+07:00", "2006-01-02-00:01", "-5", "0"} {
		f.Add(text)
	}
	now := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		at, err := Moment(text, now)
		if err != nil {
			if model.KindOf(err) != model.Invalid {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if n, numeric := strconv.ParseInt(text, 10, 64); numeric == nil && text != "+0" && text != "-0" && at.Unix() != n {
			t.Errorf("%q is %d", text, at.Unix())
		}
	})
}

func FuzzFilters(f *testing.F) {
	f.Add(`{"label":{"a=b":true}}`)
	f.Add(`{"label":["a=b"],"dangling":["true"],"until":["10m"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		filters, err := ParseFilters(text)
		if err != nil {
			return
		}
		raw, err := json.Marshal(filters)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseFilters(string(raw))
		if err != nil || len(again) != len(filters) {
			t.Errorf("%q: %v and then %v (%v)", text, filters, again, err)
		}
		_, _, _ = filters.Bool("dangling")
		_, _ = filters.Until(time.Unix(0, 0))
		filters.MatchPattern("name", text)
	})
}

func FuzzBool(f *testing.F) {
	f.Add("False")
	f.Fuzz(func(t *testing.T, text string) {
		if Bool(text) != Bool(strings.ToUpper(" "+text+" ")) && strings.EqualFold(strings.ToUpper(text), text) {
			t.Errorf("%q: case or blanks matter", text)
		}
	})
}

// TestPairs: a value may have equal signs, and may be missing.
func TestPairs(t *testing.T) {
	got := Pairs([]string{"a=b=c", "d"})
	if len(got) != 2 || got["a"] != "b=c" || strings.Contains(got["d"], "=") {
		t.Errorf("%v", got)
	}
}
