// Package ociruntimes says which OCI runtimes containers may have, by the names that users give
// them: runc, those of daemon.json, and shims by containerd's names.
//
// It is pure: whether a program is there is found out by who starts it.
package ociruntimes

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// Standard is the name of the runtime that is always there, and Shim that of the shim which
// starts it and programs that are called like it.
const (
	Standard = "runc"
	Shim     = "io.containerd.runc.v2"
)

// Definition is a runtime of daemon.json: a program that is called like runc, or a shim of
// containerd's.
type Definition struct {
	Path    string          `json:"path"`
	Args    []string        `json:"runtimeArgs"`
	Type    string          `json:"runtimeType"`
	Options json.RawMessage `json:"options"`
}

// Set is all of them.
type Set struct {
	Default string // empty is Standard
	Defined map[string]Definition
	// Folder is where the wrappers are of programs that get arguments.
	Folder string
}

// Check refuses definitions that cannot be meant, in Docker's words.
func (s Set) Check() error {
	if _, taken := s.Defined[Standard]; taken {
		return fmt.Errorf("runtime name '%s' is reserved", Standard)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Defined)) {
		d := s.Defined[name]
		switch {
		case d.Path == "" && d.Type == "":
			return fmt.Errorf("runtime %s: either a runtimeType or a path must be configured", name)
		case d.Path != "" && d.Type != "":
			return fmt.Errorf("runtime %s: cannot configure both path and runtimeType for the same runtime", name)
		case d.Path != "" && len(d.Options) > 0:
			return fmt.Errorf("runtime %s: options cannot be used with a path runtime", name)
		case d.Type != "" && len(d.Args) > 0:
			return fmt.Errorf("runtime %s: args cannot be used with a runtimeType runtime", name)
		case len(d.Options) > 0:
			return fmt.Errorf("runtime %s: options of a runtimeType are not supported: configure the shim by its own file", name)
		}
	}
	if name := s.Default; name != "" {
		if _, err := s.Find(name); err != nil {
			return fmt.Errorf("specified default runtime '%s' does not exist", name)
		}
	}
	return nil
}

// Name returns the name of the runtime of containers that do not say.
func (s Set) Name() string {
	if s.Default == "" {
		return Standard
	}
	return s.Default
}

// Find returns a runtime by its name; empty is the default. Errors: Invalid for a name that is
// neither defined nor containerd's.
func (s Set) Find(name string) (model.OCIRuntime, error) {
	if name == "" {
		name = s.Name()
	}
	if name == Standard || name == Shim {
		return model.OCIRuntime{Shim: Shim}, nil
	}
	if d, ok := s.Defined[name]; ok {
		if d.Type != "" {
			return model.OCIRuntime{Shim: d.Type}, nil
		}
		program := d.Path
		if path, _, wrapped := s.Wrapper(name); wrapped {
			program = path
		}
		return model.OCIRuntime{Shim: Shim, Program: program}, nil
	}
	if !shimName(name) {
		return model.OCIRuntime{}, model.Errorf(model.Invalid, "unknown or invalid runtime name: %s", name)
	}
	return model.OCIRuntime{Shim: name}, nil
}

// shimName tells whether a name may be handed to containerd: one that is a path would let
// whoever may use the API have any program started.
func shimName(name string) bool {
	prefix, _, dotted := strings.Cut(name, ".")
	return dotted && prefix != "" && !strings.ContainsRune(name, '/')
}

// Wrapper returns the script by which a program gets its arguments, for which the shim has no
// words: where it lies, and its text. Its name changes with the text, since containers that run
// may have been started by another. None is needed without arguments.
func (s Set) Wrapper(name string) (path, text string, needed bool) {
	d := s.Defined[name]
	if d.Path == "" || len(d.Args) == 0 {
		return "", "", false
	}
	text = fmt.Sprintf("#!/bin/sh\nexec %s %s \"$@\"\n", d.Path, strings.Join(d.Args, " "))
	sum := sha256.Sum256([]byte(text))
	return filepath.Join(s.Folder, filepath.Base(name)+"."+hex.EncodeToString(sum[:16])), text, true
}
