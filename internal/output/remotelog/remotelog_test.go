package remotelog

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/output/jsonlog"
)

var quiet = slog.New(slog.DiscardHandler)

func output(options map[string]string) model.Output {
	return model.Output{Container: "0123456789abcdef", Driver: "syslog", Options: options, Source: model.LogSource{Name: "web", Image: "nginx", Tag: "tagged"}}
}

// TestSyslog: what a server hears, in each format; an empty line is none.
func TestSyslog(t *testing.T) {
	for format, want := range map[string]string{
		"":             `^<28[37]?>.* tagged\[\d+\]: hello\n$`,
		"rfc3164":      `^<\d+>\w{3} [ \d]\d .* tagged\[\d+\]: hello\n$`,
		"rfc5424":      `^<\d+>1 \d{4}-\d\d-\d\dT\S+ \S+ tagged \d+ tagged - hello\n$`,
		"rfc5424micro": `^<\d+>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\S+ \S+ tagged \d+ tagged - hello\n$`,
	} {
		server, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan string, 3)
		go func() {
			c, err := server.Accept()
			if err != nil {
				return
			}
			for in := bufio.NewReader(c); ; {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				heard <- line
			}
		}()
		options := map[string]string{"syslog-address": "tcp://" + server.Addr().String(), "syslog-facility": "local1"}
		if format != "" {
			options["syslog-format"] = format
		}
		l, err := Open(output(options), false, quiet)
		if err != nil {
			t.Fatal(err)
		}
		for stream, line := range map[string]string{"stdout": "hello\n", "stderr": "\n"} {
			if err := l.Add(jsonlog.Entry{Time: time.Now(), Stream: stream, Line: []byte(line)}); err != nil {
				t.Error(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		got := <-heard
		want = strings.Replace(want, `^<28[37]?>`, `^<142>`, 1) // local1 is 17, info is 6
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%q: %q, want %s", format, got, want)
		}
		if err := l.Add(jsonlog.Entry{}); err == nil {
			t.Error("a closed log takes more")
		}
		_ = server.Close()
	}
}

// TestNoServer: a start fails with what is missing; what runs already goes on.
func TestNoServer(t *testing.T) {
	o := output(map[string]string{"syslog-address": "unix://" + filepath.Join(t.TempDir(), "none")})
	if _, err := Open(o, false, quiet); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no server: %v", err)
	}
	l, err := Open(o, true, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Add(jsonlog.Entry{Stream: "stdout", Line: []byte("x\n")}), l.Close()); err != nil {
		t.Error(err)
	}
	if l, err := Open(model.Output{Driver: "json-file"}, false, quiet); l != nil || err != nil {
		t.Errorf("json-file is sent to %v (%v)", l, err)
	}
}

// stuck is a server that takes nothing until it is let go.
type stuck struct{ free chan struct{} }

func (s stuck) send(jsonlog.Entry) error { <-s.free; return io.ErrClosedPipe }
func (stuck) close() error               { return nil }

// TestSlowServer: only the first line that finds no room waits; then lines are lost, and that is
// said.
func TestSlowServer(t *testing.T) {
	server := stuck{make(chan struct{})}
	l := &Log{queue: make(chan jsonlog.Entry, queued), finished: make(chan struct{}), log: quiet}
	go l.run(server, func() (sender, error) { return nil, io.ErrClosedPipe })
	began, lost := time.Now(), 0
	for range 3 * queued {
		if l.Add(jsonlog.Entry{Line: []byte("x\n")}) != nil {
			lost++
		}
	}
	if took := time.Since(began); took > 10*patience || lost < queued {
		t.Errorf("%d lines in %s, %d lost", 3*queued, took, lost)
	}
	close(server.free)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestFieldNames(t *testing.T) {
	for name, want := range map[string]string{"com.example.app": "COM_EXAMPLE_APP", "__a-1": "A_1", "ß": "", "9x": "9X"} {
		if got := fieldName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
