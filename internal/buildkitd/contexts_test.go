package buildkitd

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestContextIsReadOnce: a body is there for who knows its name, once, and until it is
// forgotten.
func TestContextIsReadOnce(t *testing.T) {
	c := newContexts()
	get := func(url string) (string, error) {
		r, err := http.NewRequest(http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.RoundTrip(r)
		if err != nil {
			return "", err
		}
		defer got.Body.Close()
		text, err := io.ReadAll(got.Body)
		return string(text), err
	}
	url, forget := c.add(io.NopCloser(strings.NewReader("files")))
	if text, err := get(url); err != nil || text != "files" {
		t.Errorf("%q %v", text, err)
	}
	if _, err := get(url); err == nil {
		t.Error("the context is read twice")
	}
	forget()
	url, forget = c.add(io.NopCloser(strings.NewReader("files")))
	forget()
	if _, err := get(url); err == nil || len(c.bodies) != 0 {
		t.Errorf("a context that was forgotten is read: %v", err)
	}
}
