package jsonlog

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/docker/go-units"

	"github.com/linkspan/linkspan/internal/model"
)

// Options say how a log is kept.
type Options struct {
	MaxSize  int64            // bytes of a file beyond which it is put aside; 0: never
	MaxFiles int              // how many files are kept, the current one included; 0 means 1
	Compress bool             // files that were put aside are compressed (gzip, RFC 1952)
	Now      func() time.Time // the clock of entries without a time; nil is the system's
	Buffers  *Buffers         // where memory for writing comes from; nil: the log's own
}

// Buffers lends logs the memory that they write from, so that a log which is
// quiet holds none. The zero value is ready; one may serve many logs.
type Buffers struct {
	pool sync.Pool // of *[]byte
}

func (b *Buffers) take() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return (*p)[:0]
	}
	return make([]byte, 0, flushSize+flushSize/4)
}

func (b *Buffers) giveBack(buf []byte) {
	if cap(buf) <= 4*flushSize {
		b.pool.Put(&buf)
	}
}

// ParseOptions reads the options of the json-file driver as a user gives them
// (`--log-opt`). Errors are of kind Invalid and have Docker's text. The options
// that choose attributes (labels, env, tag) say nothing of how the log is kept;
// those that have to do with logs that are sent elsewhere (cache-*) or with a log
// that lags behind (mode, max-buffer-size: ours never blocks on more than a
// write), are checked and have no effect.
func ParseOptions(config map[string]string) (Options, error) {
	var o Options
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if err := o.set(key, config[key]); err != nil {
			return Options{}, &model.Error{Op: "log.options", Subject: key, Kind: model.Invalid, Err: err}
		}
	}
	if err := checkMode(config["mode"], config["max-buffer-size"]); err != nil {
		return Options{}, err
	}
	if o.Compress && (o.MaxFiles < 2 || o.MaxSize == 0) {
		return Options{}, model.Errorf(model.Invalid, "compress cannot be true when max-file is less than 2 or max-size is not set")
	}
	return o, nil
}

func (o *Options) set(key, value string) (err error) {
	switch key {
	case "max-size":
		if o.MaxSize, err = units.FromHumanSize(value); err == nil && o.MaxSize <= 0 {
			err = model.Errorf(model.Invalid, "max-size must be a positive number")
		}
	case "max-file":
		if o.MaxFiles, err = strconv.Atoi(value); err == nil && o.MaxFiles < 1 {
			err = model.Errorf(model.Invalid, "max-file cannot be less than 1")
		}
	case "compress":
		o.Compress, err = strconv.ParseBool(value)
	case "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size",
		"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress":
	default:
		err = model.Errorf(model.Invalid, "unknown log opt '%s' for json-file log driver", key)
	}
	return err
}

func checkMode(mode, buffer string) error {
	switch mode {
	case "", "blocking", "non-blocking":
	default:
		return model.Errorf(model.Invalid, "logger: logging mode not supported: %s", mode)
	}
	if buffer == "" {
		return nil
	}
	if mode != "non-blocking" {
		return model.Errorf(model.Invalid, "logger: max-buffer-size option is only supported with 'mode=non-blocking'")
	}
	if _, err := units.RAMInBytes(buffer); err != nil {
		return model.Errorf(model.Invalid, "error parsing option max-buffer-size: %w", err)
	}
	return nil
}
