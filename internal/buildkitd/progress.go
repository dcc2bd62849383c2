package buildkitd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/distribution/reference"
	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/protobuf/proto"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
)

// By these IDs Docker's clients know what an aux line has in it.
const (
	auxTrace = "moby.buildkit.trace"
	auxImage = "moby.image.id"
	shortID  = 12 // digits
)

// line is one of Docker's progress.
type line struct {
	ID     string     `json:"id,omitempty"`
	Stream string     `json:"stream,omitempty"`
	Aux    any        `json:"aux,omitempty"`
	Detail *lineError `json:"errorDetail,omitempty"`
	Error  string     `json:"error,omitempty"`
}

type lineError struct {
	Code    int    `json:"code,omitempty"`
	Message string `json:"message"`
}

type imageResult struct{ ID string }

// progress shows a client how far its build is.
type progress struct {
	build wire.Build
	steps steps

	mu    sync.Mutex
	out   *json.Encoder
	flush func() error
}

func newProgress(w http.ResponseWriter, b wire.Build) *progress {
	return &progress{build: b, out: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
}

func (p *progress) say(l line) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.out.Encode(l); err != nil {
		return err
	}
	return p.flush()
}

// status shows a message of the solver's.
func (p *progress) status(r *controlapi.StatusResponse) error {
	if p.build.Trace {
		raw, err := proto.Marshal(r)
		if err != nil {
			return err
		}
		return p.say(line{ID: auxTrace, Aux: raw})
	}
	var text bytes.Buffer
	p.steps.write(&text, r)
	if p.build.Quiet || text.Len() == 0 {
		return nil
	}
	return p.say(line{Stream: text.String()})
}

// done shows what was made.
func (p *progress) done(response map[string]string) error {
	id := imageID(response)
	switch {
	case id == "": // it went elsewhere
		return nil
	case p.build.Trace:
		return p.say(line{ID: auxImage, Aux: imageResult{id}})
	case p.build.Quiet:
		return p.say(line{Stream: id + "\n"})
	}
	if err := p.say(line{Aux: imageResult{id}}); err != nil {
		return err
	}
	_, digits, _ := strings.Cut(id, ":")
	text := fmt.Sprintf("Successfully built %.*s\n", shortID, digits)
	names, err := wholeNames(p.build.Tags)
	if err != nil {
		return err
	}
	for _, name := range names {
		if ref, err := reference.ParseNormalizedNamed(name); err == nil {
			text += fmt.Sprintf("Successfully tagged %s\n", reference.FamiliarString(ref))
		}
	}
	return p.say(line{Stream: text})
}

// fail shows why there is nothing. The client may be gone.
func (p *progress) fail(err error) {
	text := plainly(err)
	_ = p.say(line{Detail: &lineError{Code: exitCode(text), Message: text}, Error: text})
}

// steps writes what the solver does as text: a number for each step, and what it prints.
type steps struct {
	numbers map[string]int
	said    map[string]bool
	ended   map[string]bool
}

// number returns which step a digest stands for.
func (s *steps) number(digest string) int {
	if s.numbers == nil {
		s.numbers, s.said, s.ended = map[string]int{}, map[string]bool{}, map[string]bool{}
	}
	n, ok := s.numbers[digest]
	if !ok {
		n = len(s.numbers) + 1
		s.numbers[digest] = n
	}
	return n
}

func (s *steps) write(w io.Writer, r *controlapi.StatusResponse) {
	for _, v := range r.Vertexes {
		if v.Started == nil && !v.Cached && v.Error == "" {
			continue
		}
		n := s.number(v.Digest)
		if !s.said[v.Digest] {
			s.said[v.Digest] = true
			fmt.Fprintf(w, "#%d %s\n", n, v.Name)
		}
		if end := endOf(v); end != "" && !s.ended[v.Digest] {
			s.ended[v.Digest] = true
			fmt.Fprintf(w, "#%d %s\n", n, end)
		}
	}
	for _, l := range r.Logs {
		n := s.number(l.Vertex)
		for text := range strings.Lines(string(l.Msg)) {
			fmt.Fprintf(w, "#%d %s\n", n, strings.TrimSuffix(text, "\n"))
		}
	}
	for _, warn := range r.Warnings {
		fmt.Fprintf(w, "WARNING: %s\n", warn.Short)
	}
}

// endOf says how a step ended; empty: it has not, or well.
func endOf(v *controlapi.Vertex) string {
	switch {
	case v.Error != "":
		return "ERROR: " + v.Error
	case v.Cached:
		return "CACHED"
	}
	return ""
}
