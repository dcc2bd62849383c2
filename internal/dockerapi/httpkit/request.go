package httpkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// FormType is the media type of parameters in a body.
const FormType = "application/x-www-form-urlencoded"

const (
	// MaxBody is the longest JSON body that is read, in bytes. Docker has no limit;
	// no client's request comes near this one.
	MaxBody = 8 << 20
	// maxForm is the longest body that is taken for a form, in bytes: curl calls
	// archives forms too, if it is not told better.
	maxForm = 4 << 10
	// MaxPath is the longest path. Names of networks may have 4096 bytes, which
	// escaping makes three times as many.
	MaxPath = 16 << 10
	// MaxName is the longest name that something is created under, as for networks.
	MaxName = 4096
	// bodyPatience is how long a client may take over one piece of its body.
	bodyPatience = 2 * time.Minute
)

// Request is an HTTP request of a known version.
type Request struct {
	*http.Request
	Version Version
	Query   url.Values
	control *http.ResponseController
}

// NewRequest reads a request's parameters: those of its query and, as curl sends
// them with -d, those of a body that is a form. Errors are Invalid.
func NewRequest(w http.ResponseWriter, r *http.Request, v Version) (*Request, error) {
	out := &Request{Request: r, Version: v, control: http.NewResponseController(w)}
	var err error
	if out.Query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, model.Errorf(model.Invalid, "%w", err)
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != FormType || r.ContentLength <= 0 || r.ContentLength > maxForm {
		return out, nil
	}
	r.Body = out.Stream()
	if err := r.ParseForm(); err != nil {
		return nil, model.Errorf(model.Invalid, "%w", err)
	}
	out.Query = r.Form // the body's come first
	return out, nil
}

// Filters reads the query's filters. Errors are Invalid.
func (r *Request) Filters() (query.Filters, error) { return query.ParseFilters(r.Query.Get("filters")) }

// Flag reads a query parameter that is true or false; missing, it is false.
func (r *Request) Flag(name string) bool { return query.Bool(r.Query.Get(name)) }

// Moment reads a query parameter that is a point in time; missing, it is the zero
// time.
func (r *Request) Moment(name string, now time.Time) (time.Time, error) {
	text := r.Query.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	return query.Moment(text, now)
}

// Number reads a query parameter that may be missing: then the answer is nil.
func (r *Request) Number(name string) (*int, error) {
	text := r.Query.Get(name)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, model.Errorf(model.Invalid, "invalid value for %s: %q is not a number", name, text)
	}
	return &n, nil
}

// ObjectVersion reads the version of the swarm's object, of a kind, that a change was made
// from. Errors are Invalid.
func (r *Request) ObjectVersion(kind string) (uint64, error) {
	text := r.Query.Get("version")
	version, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, model.Errorf(model.Invalid, "invalid %s version '%s': %w", kind, text, err)
	}
	return version, nil
}

// Size reads a terminal's width and height.
func (r *Request) Size() (width, height uint, err error) {
	for _, p := range []struct {
		name, what string
		to         *uint
	}{{"h", "height", &height}, {"w", "width", &width}} {
		n, err := query.Uint32(r.Query.Get(p.name))
		if err != nil {
			return 0, 0, model.Errorf(model.Invalid, "invalid resize %s %q: %w", p.what, r.Query.Get(p.name), err)
		}
		*p.to = uint(n)
	}
	return width, height, nil
}

// CutVerb splits what follows a resource in a path, NAME/VERB, where names may have slashes.
func CutVerb(rest string) (name, verb string) {
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return "", rest
	}
	return rest[:i], rest[i+1:]
}

// Empty tells whether the request has no body.
func (r *Request) Empty() bool { return r.Body == nil || r.ContentLength == 0 }

// Decode reads a JSON body into out. An empty body leaves out as it is: whether
// that makes sense is for whom it is passed on to.
func (r *Request) Decode(out any) error {
	if err := checkContentType(r.Request); err != nil {
		return err
	}
	if r.Empty() {
		return nil
	}
	body := http.MaxBytesReader(nil, r.Stream(), MaxBody)
	raw, err := io.ReadAll(body)
	if err != nil {
		return unreadable(err)
	}
	return DecodeJSON(raw, out)
}

// ErrNoJSON says that a body had nothing in it.
var ErrNoJSON = errors.New("got EOF while reading request body")

// DecodeJSON reads one JSON value that is all of raw.
func DecodeJSON(raw []byte, out any) error {
	// Unmarshal would do, but says of trailing data what Docker does not.
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if err := decoder.Decode(out); err != nil {
		if errors.Is(err, io.EOF) {
			err = ErrNoJSON
		}
		return model.Errorf(model.Invalid, "invalid JSON: %w", err)
	}
	if decoder.More() {
		return model.Errorf(model.Invalid, "unexpected content after JSON")
	}
	return nil
}

// unreadable is the answer to a body that did not come whole.
func unreadable(err error) error {
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		return fmt.Errorf("request body is larger than %d bytes: %w", long.Limit, err)
	}
	return model.Errorf(model.Invalid, "invalid JSON: %w", err)
}

// checkContentType refuses a body that does not claim to be JSON.
func checkContentType(r *http.Request) error {
	text := r.Header.Get("Content-Type")
	if text == "" && (r.Body == nil || r.ContentLength == 0) {
		return nil
	}
	kind, _, err := mime.ParseMediaType(text)
	switch {
	case err != nil:
		return model.Errorf(model.Invalid, "malformed Content-Type header (%s): %w", text, err)
	case kind != "application/json":
		return model.Errorf(model.Invalid, "unsupported Content-Type header (%s): must be 'application/json'", text)
	}
	return nil
}

// Stream returns the body without a limit on its length, for archives; each
// piece of it has to come in time.
func (r *Request) Stream() io.ReadCloser {
	if r.Body == nil {
		return http.NoBody
	}
	return &patientBody{r.Body, r.control}
}

// patientBody gives the client a deadline for every read.
type patientBody struct {
	io.ReadCloser
	control *http.ResponseController
}

// Read implements io.Reader. Once the body has ended the deadline is lifted:
// afterwards the server reads on only to learn that the client went away.
func (b *patientBody) Read(p []byte) (int, error) {
	// A connection that knows no deadlines (in tests) is read without.
	_ = b.control.SetReadDeadline(time.Now().Add(bodyPatience))
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
