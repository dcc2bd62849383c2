// Package logger says what a container's log notes with every line besides its
// text: the labels and variables that the log options choose, and a tag that the
// user wrote as a template.
//
// It promises that equal Infos give equal attributes, and that those are not too
// long for the log. The names in Info, and the package's own, are Docker's: users
// write them in templates, and errors in templates show them. Every exported
// method of Info can be called by a template, so none may have an effect.
package logger

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// maxAttributes is how long attributes may be as JSON, in bytes: with the longest
// line they must be shorter than what readers of the log take for one.
const maxAttributes = 256 << 10

// maxTemplate is how long the template of a tag may be, in bytes.
const maxTemplate = 64 << 10

// Info is what a tag's template may ask for.
type Info struct {
	Config              map[string]string // the log options
	ContainerID         string
	ContainerName       string // with its slash
	ContainerEntrypoint string // the program
	ContainerArgs       []string
	ContainerImageID    string // with the name of its hash
	ContainerImageName  string // as the user gave it
	ContainerCreated    time.Time
	ContainerEnv        []string // NAME=value; without "=" it is not chosen
	ContainerLabels     map[string]string
	LogPath             string
	DaemonName          string
}

// ID returns the first 12 characters of the container's ID.
func (i *Info) ID() string { return short(i.ContainerID) }

// FullID returns the container's ID.
func (i *Info) FullID() string { return i.ContainerID }

// Name returns the container's name.
func (i *Info) Name() string { return strings.TrimPrefix(i.ContainerName, "/") }

// ImageID returns the first 12 characters of the image's ID, of which the name of
// the hash takes seven.
func (i *Info) ImageID() string { return short(i.ContainerImageID) }

// ImageFullID returns the image's ID.
func (i *Info) ImageFullID() string { return i.ContainerImageID }

// ImageName returns the image's name as the user gave it.
func (i *Info) ImageName() string { return i.ContainerImageName }

// Command returns the container's program and its arguments.
func (i *Info) Command() string {
	return strings.Join(append([]string{i.ContainerEntrypoint}, i.ContainerArgs...), " ")
}

// Hostname returns the name of the host.
func (i *Info) Hostname() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("logger: can not resolve hostname: %w", err)
	}
	return name, nil
}

func short(id string) string { return id[:min(len(id), 12)] }

// Attributes returns what the log options labels, labels-regex, env, env-regex and
// tag choose, by name; nil if that is nothing. A variable goes before a label of
// the same name and the tag before both. Errors are about the options and have
// Docker's text.
func Attributes(i *Info) (map[string]string, error) {
	out := map[string]string{}
	if err := choose(out, i.ContainerLabels, i.Config["labels"], i.Config["labels-regex"]); err != nil {
		return nil, err
	}
	if err := choose(out, variables(i.ContainerEnv), i.Config["env"], i.Config["env-regex"]); err != nil {
		return nil, err
	}
	if n := len(i.Config["tag"]); n > maxTemplate {
		return nil, fmt.Errorf("log tag is too long: %d bytes, at most %d", n, maxTemplate)
	}
	tag, err := expand(i.Config["tag"], i)
	if err != nil {
		return nil, err
	}
	if tag != "" {
		out["tag"] = tag
	}
	if len(out) == 0 {
		return nil, nil
	}
	raw, err := json.Marshal(out)
	if err == nil && len(raw) > maxAttributes {
		err = fmt.Errorf("log attributes are too long: %d bytes, at most %d", len(raw), maxAttributes)
	}
	return out, err
}

// choose adds those of from that are in a list of names, between commas, or match
// a pattern; an empty one matches nothing.
func choose(to, from map[string]string, list, pattern string) error {
	for name := range strings.SplitSeq(list, ",") {
		if value, ok := from[name]; ok && list != "" {
			to[name] = value
		}
	}
	if pattern == "" {
		return nil
	}
	matches, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	for name, value := range from {
		if matches.MatchString(name) {
			to[name] = value
		}
	}
	return nil
}

// variables returns the values of an environment by name.
func variables(env []string) map[string]string {
	out := map[string]string{}
	for _, v := range env {
		if name, value, given := strings.Cut(v, "="); given {
			out[name] = value
		}
	}
	return out
}
