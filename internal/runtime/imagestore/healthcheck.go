package imagestore

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
)

// healthcheck translates what an image says about its health check.
func healthcheck(h *dockerspec.HealthcheckConfig) *model.Healthcheck {
	if h == nil {
		return nil
	}
	return &model.Healthcheck{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout,
		StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries}
}

// healthInstruction reads what follows HEALTHCHECK in a Dockerfile: "NONE", or
// options and then CMD with a command line or a JSON list.
func healthInstruction(rest string) (*dockerspec.HealthcheckConfig, error) {
	h := &dockerspec.HealthcheckConfig{}
	word, rest := cutWord(rest)
	for strings.HasPrefix(word, "--") {
		if err := healthOption(h, word); err != nil {
			return nil, err
		}
		word, rest = cutWord(rest)
	}
	switch kind := strings.ToUpper(word); {
	case kind == "NONE" && rest != "":
		return nil, fmt.Errorf("HEALTHCHECK NONE takes no arguments")
	case kind == "NONE":
		h.Test = []string{"NONE"}
	case kind != "CMD":
		return nil, fmt.Errorf("Unknown type %q in HEALTHCHECK (try CMD)", kind)
	case rest == "":
		return nil, fmt.Errorf("Missing command after HEALTHCHECK CMD")
	default:
		var list []string
		if err := json.Unmarshal([]byte(rest), &list); err == nil && len(list) > 0 {
			h.Test = append([]string{"CMD"}, list...)
		} else {
			h.Test = []string{"CMD-SHELL", rest}
		}
	}
	return h, nil
}

// cutWord splits a line after its first word.
func cutWord(line string) (word, rest string) {
	line = strings.TrimSpace(line)
	end := strings.IndexAny(line, " \t")
	if end < 0 {
		return line, ""
	}
	return line[:end], strings.TrimSpace(line[end:])
}

// healthOption reads one option, "--interval=5s".
func healthOption(h *dockerspec.HealthcheckConfig, option string) error {
	name, value, _ := strings.Cut(strings.TrimPrefix(option, "--"), "=")
	times := map[string]*time.Duration{"interval": &h.Interval, "timeout": &h.Timeout,
		"start-period": &h.StartPeriod, "start-interval": &h.StartInterval}
	if to, ok := times[name]; ok {
		d, err := time.ParseDuration(value)
		if err != nil {
			return err
		}
		if d < 0 || d != 0 && d < time.Millisecond {
			return fmt.Errorf("Interval %q cannot be less than %s", name, time.Millisecond)
		}
		*to = d
		return nil
	}
	if name != "retries" {
		return fmt.Errorf("unknown flag: %s", name)
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil {
		return err
	}
	if n < 0 {
		return fmt.Errorf("--retries cannot be negative (%d)", n)
	}
	h.Retries = int(n)
	return nil
}
