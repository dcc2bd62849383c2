package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// renamed maps the keys of daemon.json that are not called like their flag.
var renamed = map[string]string{
	"hosts":                 "host",
	"dns-opts":              "dns-opt",
	"log-opts":              "log-opt",
	"labels":                "label",
	"default-address-pools": "default-address-pool",
	"default-network-opts":  "default-network-opt",
	"host-gateway-ips":      "host-gateway-ip",
	"storage-opts":          "storage-opt",
	"exec-opts":             "exec-opt",
	"insecure-registries":   "insecure-registry",
	"registry-mirrors":      "registry-mirror",
	"authorization-plugins": "authorization-plugin",
	"default-ulimits":       "default-ulimit",
	"runtimes":              "add-runtime",
	"features":              "feature",
	"cdi-spec-dirs":         "cdi-spec-dir",

	"node-generic-resources": "node-generic-resource",
}

// byteOrderMark is what some editors begin a file with.
const byteOrderMark = "\ufeff"

// readFile applies the settings of a daemon.json. A setting that is given both
// there and as a flag is an error, as in dockerd.
func readFile(flags *pflag.FlagSet, path string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !flags.Changed("config-file") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unable to configure the Docker daemon with file %s: %w", path, err)
	}
	if err := applyFile(flags, raw); err != nil {
		return fmt.Errorf("unable to configure the Docker daemon with file %s: %w", path, err)
	}
	return nil
}

func applyFile(flags *pflag.FlagSet, raw []byte) error {
	settings := map[string]json.RawMessage{}
	raw = bytes.TrimSpace(bytes.TrimPrefix(raw, []byte(byteOrderMark)))
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, &settings); err != nil {
		return fmt.Errorf("invalid JSON: %w", err)
	}
	if err := flatten(settings, "proxies", "http-proxy", "https-proxy", "no-proxy"); err != nil {
		return err
	}
	var unknown, twice []string
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		name := key
		if other, ok := renamed[key]; ok {
			name = other
		}
		switch flag := flags.Lookup(name); {
		case flag == nil || key == "config-file" || key == "validate":
			unknown = append(unknown, key)
			continue
		case flag.Changed:
			twice = append(twice, fmt.Sprintf("%s: (from flag: %s, from file: %.100s)", key, flag.Value, plain(settings[key])))
			continue
		}
		values, err := valuesOf(key, settings[key])
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		for _, v := range values {
			if err := flags.Set(name, v); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("the following directives don't match any configuration option: %s", strings.Join(unknown, ", "))
	}
	if len(twice) > 0 {
		return fmt.Errorf("the following directives are specified both as a flag and in the configuration file: %s", strings.Join(twice, ", "))
	}
	return nil
}

// flatten puts the members of an object, of which these are known, in place of the object.
func flatten(settings map[string]json.RawMessage, key string, members ...string) error {
	raw, ok := settings[key]
	if !ok {
		return nil
	}
	delete(settings, key)
	var inner map[string]json.RawMessage
	if err := json.Unmarshal(raw, &inner); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	for _, name := range slices.Sorted(maps.Keys(inner)) {
		if !slices.Contains(members, name) {
			return fmt.Errorf("the following directives don't match any configuration option: %s", name)
		}
		settings[name] = inner[name]
	}
	return nil
}

// valuesOf returns a setting in the form its flag takes, once for each time the
// flag would be given.
func valuesOf(key string, raw json.RawMessage) ([]string, error) {
	switch key {
	case "default-address-pools":
		var pools []struct {
			Base string `json:"base"`
			Size int    `json:"size"`
		}
		err := json.Unmarshal(raw, &pools)
		var out []string
		for _, p := range pools {
			out = append(out, fmt.Sprintf("base=%s,size=%d", p.Base, p.Size))
		}
		return out, err
	case "default-network-opts":
		var opts map[string]map[string]string
		err := json.Unmarshal(raw, &opts)
		var out []string
		for _, driver := range slices.Sorted(maps.Keys(opts)) {
			for _, k := range slices.Sorted(maps.Keys(opts[driver])) {
				out = append(out, driver+"="+k+"="+opts[driver][k])
			}
		}
		return out, err
	case "log-opts":
		var opts map[string]string
		err := json.Unmarshal(raw, &opts)
		var out []string
		for _, k := range slices.Sorted(maps.Keys(opts)) {
			out = append(out, k+"="+opts[k])
		}
		return out, err
	case "features":
		var switches map[string]bool
		err := json.Unmarshal(raw, &switches)
		var out []string
		for _, k := range slices.Sorted(maps.Keys(switches)) {
			out = append(out, fmt.Sprintf("%s=%t", k, switches[k]))
		}
		return out, err
	case "runtimes", "default-ulimits", "builder", "nri-opts":
		return objects(raw)
	}
	return scalars(raw)
}

// objects returns the members of an object as name=value, where no more is wanted
// than to know that there are some.
func objects(raw json.RawMessage) ([]string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(members)) {
		out = append(out, k+"="+string(members[k]))
	}
	return out, nil
}

// plain returns a value of the file as text.
func plain(raw json.RawMessage) string {
	if values, err := scalars(raw); err == nil {
		return strings.Join(values, " ")
	}
	return string(raw)
}

// scalars reads a string, number or truth value, or a list of them.
func scalars(raw json.RawMessage) ([]string, error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	var out []string
	for _, item := range list {
		var text string
		if json.Unmarshal(item, &text) == nil {
			out = append(out, text)
			continue
		}
		plain := strings.TrimSpace(string(item))
		if strings.HasPrefix(plain, "{") || strings.HasPrefix(plain, "[") || plain == "null" {
			return nil, fmt.Errorf("unexpected value %.60s", plain)
		}
		out = append(out, plain)
	}
	return out, nil
}
