package containerspec

import (
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

func TestCheckLogging(t *testing.T) {
	const driver = "failed to create task for container: failed to initialize logging driver: "
	for _, c := range []struct {
		name, driver string
		options      map[string]string
		want         string // empty: it may be
	}{
		{"nothing", "", nil, ""},
		{"no log", "none", map[string]string{"max-size": "x"}, ""},
		{"everything", "json-file", map[string]string{"max-size": "10m", "max-file": "3", "compress": "true", "labels": "a", "env": "B",
			"labels-regex": "^a", "env-regex": "^b", "tag": "x", "mode": "non-blocking", "max-buffer-size": "4m"}, ""},
		{"another driver", "gelf", nil, "logger: no log driver named 'gelf' is registered"},
		{"another's option", "", map[string]string{"syslog-address": "x"}, "unknown log opt 'syslog-address' for json-file log driver"},
		{"size in words", "", map[string]string{"max-size": "big"}, driver + "invalid size: 'big'"},
		{"size of nothing", "", map[string]string{"max-size": "0"}, driver + "max-size must be a positive number"},
		{"no file", "", map[string]string{"max-file": "0"}, driver + "max-file cannot be less than 1"},
		{"files in words", "", map[string]string{"max-file": "a"}, driver + `strconv.Atoi: parsing "a": invalid syntax`},
		{"one file compressed", "", map[string]string{"compress": "true", "max-size": "1m"},
			driver + "compress cannot be true when max-file is less than 2 or max-size is not set"},
		{"perhaps compressed", "", map[string]string{"compress": "x"}, driver + `strconv.ParseBool: parsing "x": invalid syntax`},
		{"no mode", "", map[string]string{"mode": "loud"}, "logger: logging mode not supported: loud"},
		{"buffer that blocks", "", map[string]string{"max-buffer-size": "1m"},
			"logger: max-buffer-size option is only supported with 'mode=non-blocking'"},
		{"buffer in words", "", map[string]string{"mode": "non-blocking", "max-buffer-size": "x"},
			"error parsing option max-buffer-size: invalid size: 'x'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := checkLogging(Request{Host: &container.HostConfig{LogConfig: container.LogConfig{Type: c.driver, Config: c.options}}})
			if c.want == "" {
				must(t, err)
				return
			}
			refused(t, err, model.Invalid, c.want)
		})
	}
}
