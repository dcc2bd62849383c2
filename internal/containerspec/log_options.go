package containerspec

import (
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/docker/go-units"

	"github.com/linkspan/linkspan/internal/model"
)

// checkLogging refuses a log that could not be kept. Docker notices some of it
// only when the container is started; its words are the same.
func checkLogging(r Request) error {
	driver, options := r.Host.LogConfig.Type, r.Host.LogConfig.Config
	switch driver {
	case "none":
		return nil
	case "", "json-file":
	default:
		return model.Errorf(model.Invalid, "logger: no log driver named '%s' is registered", driver)
	}
	known := []string{"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size",
		"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"}
	for _, option := range slices.Sorted(maps.Keys(options)) {
		if !slices.Contains(known, option) {
			return model.Errorf(model.Invalid, "unknown log opt '%s' for json-file log driver", option)
		}
	}
	if err := checkLogMode(options); err != nil {
		return err
	}
	if err := checkRotation(options); err != nil {
		return model.Errorf(model.Invalid, "failed to create task for container: failed to initialize logging driver: %w", err)
	}
	return nil
}

func checkLogMode(options map[string]string) error {
	mode := options["mode"]
	if !slices.Contains([]string{"", "blocking", "non-blocking"}, mode) {
		return model.Errorf(model.Invalid, "logger: logging mode not supported: %s", mode)
	}
	size, given := options["max-buffer-size"]
	if !given {
		return nil
	}
	if mode != "non-blocking" {
		return refuse("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
	}
	if _, err := units.RAMInBytes(size); err != nil {
		return model.Errorf(model.Invalid, "error parsing option max-buffer-size: %w", err)
	}
	return nil
}

// checkRotation refuses what the log itself would refuse, later and to nobody.
func checkRotation(options map[string]string) error {
	size, sized := options["max-size"]
	if sized {
		if n, err := units.FromHumanSize(size); err != nil {
			return err
		} else if n <= 0 {
			return errors.New("max-size must be a positive number")
		}
	}
	files := 1
	if text, given := options["max-file"]; given {
		var err error
		if files, err = strconv.Atoi(text); err != nil {
			return err
		} else if files < 1 {
			return errors.New("max-file cannot be less than 1")
		}
	}
	text, given := options["compress"]
	if !given {
		return nil
	}
	compress, err := strconv.ParseBool(text)
	if err == nil && compress && (files < 2 || !sized) {
		err = errors.New("compress cannot be true when max-file is less than 2 or max-size is not set")
	}
	return err
}
