package output

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/output/jsonlog"
)

// TestAttributesAreNoted: with every line, also by who takes over; and from now on
// others, once they are said.
func TestAttributesAreNoted(t *testing.T) {
	first, out := newOutputs(t, Options{}), fifos(t)
	out.Attributes = map[string]string{"tag": "one"}
	open(t, first, out)
	stdout, stderr := writer(t, out.Pipes.Stdout), writer(t, out.Pipes.Stderr)
	first.Begun(id)
	print(t, stdout, "a\n")
	client := first.Follow(id, true, true)
	print(t, stderr, "begun") // after the client came: what is begun before is given to it, and noted
	eventually(t, "the first line is in the log", func() bool { return noted(t, out.Log) != "" })

	second := newOutputs(t, Options{})
	if err := second.Adopt(first.Release()); err != nil {
		t.Fatal(err)
	}
	client.Close()
	print(t, stdout, "b\n")
	eventually(t, "who takes over notes the same", func() bool { return strings.Contains(noted(t, out.Log), "b=one") })

	out.Attributes = map[string]string{"tag": "two"}
	open(t, second, out) // a daemon that begins anew
	if got := second.List(); len(got) != 1 || got[0].Attributes["tag"] != "two" {
		t.Errorf("open is %v", got)
	}
	print(t, stdout, "c\n")
	eventually(t, "what was said last is noted", func() bool { return strings.Contains(noted(t, out.Log), "c=two") })
	out.Attributes = nil
	open(t, second, out)
	print(t, stdout, "d\n")
	stdout.Close()
	stderr.Close()
	drain(t, second)
	closeOutput(t, second)
	got := strings.Fields(noted(t, out.Log))
	slices.Sort(got) // the streams have no order
	if want := "[a=one b=one begun= c=two d=]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// noted returns the lines of a log with their tags.
func noted(t *testing.T, path string) string {
	t.Helper()
	r, err := jsonlog.Read(path, jsonlog.ReadOptions{Tail: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	for {
		e, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s=%s ", strings.TrimSuffix(string(e.Line), "\n"), e.Attributes.Map()["tag"])
	}
}
