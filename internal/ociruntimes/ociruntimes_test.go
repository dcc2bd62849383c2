package ociruntimes

import (
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestFind(t *testing.T) {
	s := Set{Folder: "/f", Defined: map[string]Definition{"crun": {Path: "/usr/bin/crun"}, "loud": {Path: "/usr/bin/runc", Args: []string{"--debug"}}, "kata": {Type: "io.containerd.kata.v2"}}}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	wrapper, text, _ := s.Wrapper("loud")
	if text != "#!/bin/sh\nexec /usr/bin/runc --debug \"$@\"\n" || !strings.HasPrefix(wrapper, "/f/loud.") {
		t.Errorf("%s: %q", wrapper, text)
	}
	for name, want := range map[string]model.OCIRuntime{
		"": {Shim: Shim}, "runc": {Shim: Shim}, Shim: {Shim: Shim}, "crun": {Shim: Shim, Program: "/usr/bin/crun"}, "loud": {Shim: Shim, Program: wrapper},
		"kata": {Shim: "io.containerd.kata.v2"}, "io.containerd.runsc.v1": {Shim: "io.containerd.runsc.v1"},
	} {
		if got, err := s.Find(name); err != nil || got != want {
			t.Errorf("%q: %+v (%v), want %+v", name, got, err, want)
		}
	}
	for _, name := range []string{"odd", "/bin/sh", "a/b.c", ".x", "../x.y"} {
		if _, err := s.Find(name); model.KindOf(err) != model.Invalid || err.Error() != "unknown or invalid runtime name: "+name {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for want, s := range map[string]Set{
		"runtime name 'runc' is reserved":                                            {Defined: map[string]Definition{"runc": {Path: "/x"}}},
		"runtime x: either a runtimeType or a path must be configured":               {Defined: map[string]Definition{"x": {}}},
		"runtime x: cannot configure both path and runtimeType for the same runtime": {Defined: map[string]Definition{"x": {Path: "/x", Type: "a.b"}}},
		"runtime x: args cannot be used with a runtimeType runtime":                  {Defined: map[string]Definition{"x": {Type: "a.b", Args: []string{"-v"}}}},
		"runtime x: options cannot be used with a path runtime":                      {Defined: map[string]Definition{"x": {Path: "/x", Options: []byte(`{"a":1}`)}}},
		"specified default runtime 'odd' does not exist":                             {Default: "odd"},
	} {
		if err := s.Check(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
