package jsonlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func clock() func() time.Time {
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	return func() time.Time {
		now = now.Add(time.Second)
		return now
	}
}

func open(t *testing.T, o Options) (*Log, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c-json.log")
	o.Now = clock()
	l, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, path
}

func texts(t *testing.T, r *Reader) []string {
	t.Helper()
	defer r.Close()
	var out []string
	for {
		e, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(e.Line))
	}
}

func read(t *testing.T, path string, o ReadOptions) []string {
	t.Helper()
	r, err := Read(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return texts(t, r)
}

func TestFormatIsDockers(t *testing.T) {
	e := Entry{Time: time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.FixedZone("x", 3600)), Stream: "stderr",
		Line: []byte("a\"b\\c\t<&>\x01é\xff\u2028\n")}
	want := `{"log":"a\"b\\c\t\u003c\u0026\u003e\u0001é\ufffd\u2028\n","stream":"stderr","time":"2024-05-06T06:08:09.123456789Z"}` + "\n"
	if got := string(e.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAttributesAreDockers(t *testing.T) {
	e := Entry{Time: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC), Stream: "stdout", Line: []byte("a\n"),
		Attributes: NewAttributes(map[string]string{"team": "a \"b\"\n", "PLACE": "<here>\xff", "tag": ""})}
	want := `{"log":"a\n","stream":"stdout","attrs":{"PLACE":"\u003chere\u003e\ufffd","tag":"","team":"a \"b\"\n"},"time":"2024-05-06T07:08:09Z"}` + "\n"
	if got := string(e.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if NewAttributes(nil) != "" || NewAttributes(map[string]string{}) != "" {
		t.Error("no attributes are noted")
	}
}

func TestAttributesAreRead(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"some":          {`,"attrs":{"b":"2","a":"1"}`, "map[a:1 b:2]"},
		"spread out":    {",\"attrs\": { \"a\" :\n\"1\" }", "map[a:1]"},
		"escaped":       {`,"attrs":{"a":"\u003c\n"}`, "map[a:<\n]"},
		"none":          {``, "map[]"},
		"null":          {`,"attrs":null`, "map[]"},
		"a number":      {`,"attrs":5`, "map[]"},
		"a list":        {`,"attrs":["a"]`, "map[]"},
		"of numbers":    {`,"attrs":{"a":"1","b":2}`, "map[]"},
		"of attributes": {`,"attrs":{"a":{"b":"c"}}`, "map[]"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Parse([]byte(`{"log":"x","stream":"stdout"` + tc.in + `,"time":"2024-05-06T07:08:09Z"}`))
			if err != nil || string(e.Line) != "x" {
				t.Fatalf("the line is lost: %+v %v", e, err)
			}
			if got := fmt.Sprint(e.Attributes.Map()); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if raw := e.Append(nil); bytes.Count(raw, []byte("\n")) != 1 || !json.Valid(raw) {
				t.Errorf("not one line of JSON: %q", raw)
			}
		})
	}
}

func TestTailSinceUntil(t *testing.T) {
	l, path := open(t, Options{MaxSize: 400, MaxFiles: 3})
	for i := range 12 { // entry i is i+1 seconds after the clock's start
		if err := l.Write(Entry{Stream: "stdout", Line: fmt.Appendf(nil, "%d\n", i)}); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for name, tc := range map[string]struct {
		o    ReadOptions
		want string
	}{
		"all":          {ReadOptions{Tail: -1}, "[0 1 2 3 4 5 6 7 8 9 10 11]"},
		"none":         {ReadOptions{Tail: 0}, "[]"},
		"one":          {ReadOptions{Tail: 1}, "[11]"},
		"across files": {ReadOptions{Tail: 7}, "[5 6 7 8 9 10 11]"},
		"too many":     {ReadOptions{Tail: 100}, "[0 1 2 3 4 5 6 7 8 9 10 11]"},
		"since":        {ReadOptions{Tail: -1, Since: start.Add(10 * time.Second)}, "[9 10 11]"},
		"until":        {ReadOptions{Tail: -1, Until: start.Add(2 * time.Second)}, "[0 1]"},
	} {
		t.Run(name, func(t *testing.T) {
			got := read(t, path, tc.o)
			if s := strings.ReplaceAll(fmt.Sprint(got), "\n", ""); s != tc.want {
				t.Errorf("got %s, want %s", s, tc.want)
			}
		})
	}
}

func TestRotationKeepsNoMoreThanItMay(t *testing.T) {
	l, path := open(t, Options{MaxSize: 200, MaxFiles: 2})
	for i := range 100 {
		if err := l.Write(Entry{Stream: "stdout", Line: fmt.Appendf(nil, "%d\n", i)}); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob(path + "*")
	if len(files) != 2 {
		t.Errorf("files %v, want 2", files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 200 {
			t.Errorf("%s: %v %v", f, info, err)
		}
	}
	if got := read(t, path, ReadOptions{Tail: 1}); len(got) != 1 || got[0] != "99\n" {
		t.Errorf("last %q", got)
	}
}

func TestFollowIsWokenAndSurvivesRotation(t *testing.T) {
	const entries = 500
	l, path := open(t, Options{MaxSize: 1000, MaxFiles: 100})
	ended := make(chan struct{})
	r, err := Read(path, ReadOptions{Follow: true, Tail: -1, Ended: ended})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []string, 1)
	go func() { got <- texts(t, r) }()
	for i := range entries {
		if err := l.Write(Entry{Stream: "stdout", Line: fmt.Appendf(nil, "%d\n", i)}); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	close(ended)
	select {
	case lines := <-got:
		if len(lines) != entries || lines[entries-1] != fmt.Sprintf("%d\n", entries-1) {
			t.Errorf("%d entries, want %d", len(lines), entries)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the follower sleeps on")
	}
}

func TestFollowerThatPausesSkipsWhatIsGone(t *testing.T) {
	l, path := open(t, Options{MaxSize: 300, MaxFiles: 2})
	ended := make(chan struct{})
	r, err := Read(path, ReadOptions{Follow: true, Tail: -1, Ended: ended})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := l.Write(Entry{Stream: "stdout", Line: fmt.Appendf(nil, "%d\n", i)}); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	close(ended)
	got := texts(t, r)
	if len(got) > 20 || got[0] != "0\n" || got[len(got)-1] != "199\n" {
		t.Errorf("got %q", got)
	}
}

func TestFollowEnds(t *testing.T) {
	_, path := open(t, Options{})
	ended := make(chan struct{})
	r, err := Read(path, ReadOptions{Follow: true, Tail: -1, Ended: ended})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.Next(ctx)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled follower: %v", err)
	}
	until, err := Read(path, ReadOptions{Follow: true, Tail: -1, Ended: ended, Until: time.Now().Add(10 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(t, until); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestDamageIsPassedOver(t *testing.T) {
	good := string(Entry{Time: time.Unix(1, 0), Stream: "stdout", Line: []byte("good\n")}.Append(nil))
	path := filepath.Join(t.TempDir(), "log")
	damaged := "not json\n" + good + "{}\n" + strings.Repeat("z", 3*lineLimit) + "\n" + good + good[:20]
	if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path, ReadOptions{Tail: -1}); len(got) != 2 {
		t.Errorf("got %d entries, want 2", len(got))
	}
	l, err := Open(path, Options{}) // after the half line a new one begins
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Write(Entry{Stream: "stdout", Line: []byte("new\n")}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path, ReadOptions{Tail: 1}); len(got) != 1 || got[0] != "new\n" {
		t.Errorf("got %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"log":"hello\n","stream":"stdout","time":"2024-05-06T07:08:09.123456789Z"}`))
	f.Add([]byte(`{"log":"a","stream":"stderr","attrs":{"tag":"web","b":"\u2028"},"time":"2024-05-06T07:08:09Z"}`))
	f.Add([]byte("{\"log\":\"\",\"attrs\": { \"a\":\n 1 },\"time\":\"2024-05-06T07:08:09Z\"}"))
	f.Add([]byte(`{"log":null}`))
	f.Add([]byte("\xff{"))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := Parse(line)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("error %v does not wrap ErrFormat", err)
			}
			return
		}
		if y := e.Time.UTC().Year(); y < 0 || y > 9999 {
			return // RFC 3339 cannot write it
		}
		raw := e.Append(nil)
		if bytes.IndexByte(raw, '\n') != len(raw)-1 {
			t.Fatalf("not one line: %q", raw)
		}
		again, err := Parse(raw)
		if err != nil || !bytes.Equal(again.Line, e.Line) || again.Stream != e.Stream || !again.Time.Equal(e.Time) || again.Attributes != e.Attributes {
			t.Fatalf("%+v became %+v: %v", e, again, err)
		}
	})
}

func FuzzAppend(f *testing.F) {
	f.Add([]byte("a\x00\xff<\n"), "tag", "\"\xff\n")
	f.Fuzz(func(t *testing.T, line []byte, name, value string) {
		raw := Entry{Stream: "stdout", Line: line, Attributes: NewAttributes(map[string]string{name: value})}.Append(nil)
		if !json.Valid(raw) || bytes.IndexByte(raw, '\n') != len(raw)-1 {
			t.Fatalf("not one line of JSON: %q", raw)
		}
		e, err := Parse(raw)
		if err != nil || string(e.Line) != string([]rune(string(line))) {
			t.Fatalf("%q became %q: %v", line, e.Line, err)
		}
		if got, ok := e.Attributes.Map()[string([]rune(name))]; !ok || got != string([]rune(value)) {
			t.Fatalf("%q=%q became %v", name, value, e.Attributes.Map())
		}
	})
}

// TestReadEndsWhereTheLogEnded: who does not follow gets what was there, however fast
// somebody writes meanwhile.
func TestReadEndsWhereTheLogEnded(t *testing.T) {
	for tail, want := range map[int]string{-1: "abc", 2: "bc"} {
		l, path := open(t, Options{})
		for _, line := range []string{"a\n", "b\n", "c\n"} {
			write(t, l, line)
		}
		r, err := Read(path, ReadOptions{Tail: tail})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var got string
		for {
			e, err := r.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || len(got) > 10 {
				t.Fatal(got, err)
			}
			got += strings.TrimSpace(string(e.Line))
			write(t, l, "more\n")
		}
		if got != want {
			t.Errorf("tail %d: %q, want %q", tail, got, want)
		}
	}
}
