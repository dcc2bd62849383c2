package logoptions

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func options(pairs string) map[string]string {
	out := map[string]string{}
	for _, pair := range strings.Fields(pairs) {
		name, value, _ := strings.Cut(pair, "=")
		out[name] = value
	}
	return out
}

// TestCheck: what drivers take and what they refuse, in Docker's words.
func TestCheck(t *testing.T) {
	const start = "failed to create task for container: failed to initialize logging driver: "
	for _, c := range []struct{ driver, options, want string }{
		{"", "max-size=1m max-file=2 compress=true", ""}, {"none", "odd=1", ""}, {"local", "", ""}, {"local", "max-size=1m max-file=1 compress=false tag=x", ""},
		{"local", "max-file=1", start + "compression cannot be enabled when max file count is 1"},
		{"local", "max-size=x", start + "invalid value for max-size: x: invalid size: 'x'"},
		{"local", "compress=x", start + `invalid boolean value for compress: strconv.ParseBool: parsing "x": invalid syntax`},
		{"local", "odd=1", "unknown log opt 'odd' for log driver local"},
		{"journald", "labels=a env=b tag=c cache-disabled=true", ""}, {"journald", "max-size=1m", "unknown log opt 'max-size' for journald log driver"},
		{"json-file", "odd=1", "unknown log opt 'odd' for json-file log driver"},
		{"json-file", "compress=true", start + "compress cannot be true when max-file is less than 2 or max-size is not set"},
		{"json-file", "max-size=0", start + "max-size must be a positive number"}, {"json-file", "mode=odd", "logger: logging mode not supported: odd"},
		{"syslog", "syslog-address=tcp://1.2.3.4 syslog-facility=local7 syslog-format=rfc5424micro", ""},
		{"syslog", "syslog-facility=24", "invalid syslog facility"}, {"syslog", "syslog-format=odd", "Invalid syslog format"},
		{"syslog", "syslog-address=http://a", "unsupported scheme: 'http'"}, {"syslog", "max-size=1m", "unknown log opt 'max-size' for syslog log driver"},
		{"fluentd", "", "logger: no log driver named 'fluentd' is registered"}, {"odd", "", "logger: no log driver named 'odd' is registered"},
	} {
		err := Check(c.driver, options(c.options))
		if err == nil && c.want == "" {
			continue
		}
		var known *model.Error
		if err == nil || err.Error() != c.want && !strings.HasPrefix(err.Error(), c.want+"\n") || model.KindOf(err) != model.Invalid {
			t.Errorf("%s %s: %v, want %q", c.driver, c.options, err, c.want)
		} else if errors.As(err, &known) && (known.Way == "") == (c.driver == "fluentd") {
			t.Errorf("%s: the way out is %q", c.driver, known.Way)
		}
	}
}

// TestFiles: how what a driver keeps here is kept, and whether it can be read.
func TestFiles(t *testing.T) {
	for _, c := range []struct {
		driver, options, want string
		kept                  bool
	}{
		{"json-file", "max-size=1m", "max-size=1m", true}, {"none", "", "", false},
		{"local", "", "max-size=20971520 max-file=5 compress=true", true}, {"local", "max-file=2", "max-size=20971520 max-file=2 compress=true", true},
		{"local", "max-size=0", "max-file=5", true}, {"journald", "cache-max-size=1m", "max-size=1m max-file=5 compress=true", true},
		{"syslog", "cache-disabled=true", "max-size=20971520 max-file=5 compress=true", false},
	} {
		given := options(c.options)
		if got := Files(c.driver, given); !maps.Equal(got, options(c.want)) || Kept(c.driver, given) != c.kept {
			t.Errorf("%s %s: %v, kept %t", c.driver, c.options, got, Kept(c.driver, given))
		}
	}
}

// FuzzSyslog: an address is understood or refused.
func FuzzSyslog(f *testing.F) {
	for _, seed := range []string{"", "tcp://[::1]", "tcp://[::1]:5", "udp://a", "tcp+tls://a:6514", "unix:///dev/log", "tcp://%zz", "unixgram:"} {
		f.Add(seed, "daemon")
	}
	f.Fuzz(func(t *testing.T, address, facility string) {
		s, err := ParseSyslog(map[string]string{"syslog-address": address, "syslog-facility": facility})
		if err == nil && (s.Facility < 0 || s.Facility > 23 || address != "" && s.Network == "") {
			t.Errorf("%q %q: %+v", address, facility, s)
		}
	})
}
