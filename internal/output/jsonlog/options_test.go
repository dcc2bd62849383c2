package jsonlog

import (
	"reflect"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestParseOptions(t *testing.T) {
	for name, tc := range map[string]struct {
		config map[string]string
		want   Options
		err    string
	}{
		"none":           {nil, Options{}, ""},
		"decimal size":   {map[string]string{"max-size": "10m"}, Options{MaxSize: 10_000_000}, ""},
		"files":          {map[string]string{"max-size": "1k", "max-file": "3"}, Options{MaxSize: 1000, MaxFiles: 3}, ""},
		"files, no size": {map[string]string{"max-file": "3"}, Options{MaxFiles: 3}, ""},
		"compressed":     {map[string]string{"max-size": "1k", "max-file": "3", "compress": "true"}, Options{MaxSize: 1000, MaxFiles: 3, Compress: true}, ""},
		"no effect":      {map[string]string{"labels": "a", "env-regex": "^b", "tag": "{{.ID}}", "cache-disabled": "true", "mode": "non-blocking", "max-buffer-size": "4m"}, Options{}, ""},

		"unknown":      {map[string]string{"max-sizes": "1"}, Options{}, "unknown log opt 'max-sizes' for json-file log driver"},
		"no size":      {map[string]string{"max-size": "big"}, Options{}, "invalid size: 'big'"},
		"size 0":       {map[string]string{"max-size": "0"}, Options{}, "max-size must be a positive number"},
		"size -1":      {map[string]string{"max-size": "-1"}, Options{}, "invalid size: '-1'"},
		"no number":    {map[string]string{"max-file": "x"}, Options{}, `strconv.Atoi: parsing "x": invalid syntax`},
		"no file":      {map[string]string{"max-file": "0"}, Options{}, "max-file cannot be less than 1"},
		"no bool":      {map[string]string{"compress": "x"}, Options{}, `strconv.ParseBool: parsing "x": invalid syntax`},
		"one file":     {map[string]string{"compress": "true", "max-size": "1k"}, Options{}, "compress cannot be true when max-file is less than 2 or max-size is not set"},
		"endless file": {map[string]string{"compress": "true", "max-file": "2"}, Options{}, "compress cannot be true when max-file is less than 2 or max-size is not set"},
		"mode":         {map[string]string{"mode": "x"}, Options{}, "logger: logging mode not supported: x"},
		"buffer":       {map[string]string{"max-buffer-size": "1m"}, Options{}, "logger: max-buffer-size option is only supported with 'mode=non-blocking'"},
		"no buffer":    {map[string]string{"max-buffer-size": "x", "mode": "non-blocking"}, Options{}, "error parsing option max-buffer-size: invalid size: 'x'"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseOptions(tc.config)
			if tc.err != "" {
				if err == nil || err.Error() != tc.err || model.KindOf(err) != model.Invalid {
					t.Errorf("error %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v %v", got, err)
			}
		})
	}
}
