package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/distribution/reference"

	"github.com/linkspan/linkspan/internal/model"
)

// serve starts a registry with these pages, and returns its host and the way to it.
func serve(t *testing.T, pages map[string]http.HandlerFunc) (host string, r *Registries) {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, page := range pages {
		mux.HandleFunc(pattern, page)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), New(Options{CertsDir: t.TempDir(), Patience: time.Second})
}

func answer(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// TestLogin by password and by token, at servers that know one and do not.
func TestLogin(t *testing.T) {
	basic := func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "right" {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	host, r := serve(t, map[string]http.HandlerFunc{"GET /v2/": basic})
	if _, err := r.Login(t.Context(), model.RegistryAuth{Username: "me", Password: "right", ServerAddress: host}); err != nil {
		t.Error(err)
	}
	_, err := r.Login(t.Context(), model.RegistryAuth{Username: "me", Password: "wrong", ServerAddress: host})
	if model.KindOf(err) != model.Unauthorized || !strings.HasSuffix(err.Error(), "/v2/ failed with status: 401 Unauthorized") {
		t.Errorf("%v", err)
	}
	var own string
	host, r = serve(t, map[string]http.HandlerFunc{
		"GET /v2/": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer short" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+own+`/token",service="here"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
		},
		"GET /token": func(w http.ResponseWriter, r *http.Request) {
			if _, password, _ := r.BasicAuth(); password != "right" {
				answer(http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or \u001b[1mpassword"}]}`)(w, r)
				return
			}
			fmt.Fprintf(w, `{"token":"short","refresh_token":"long for %s"}`, r.URL.Query().Get("service"))
		},
	})
	own = host
	token, err := r.Login(t.Context(), model.RegistryAuth{Username: "me", Password: "right", ServerAddress: "http://" + host + "/v1/"})
	if token != "long for here" || err != nil {
		t.Errorf("%q, %v", token, err)
	}
	_, err = r.Login(t.Context(), model.RegistryAuth{Username: "me", Password: "wrong", ServerAddress: host})
	if model.KindOf(err) != model.Unauthorized || !strings.HasSuffix(err.Error(), "unauthorized: incorrect username or [1mpassword") {
		t.Errorf("%v", err)
	}
}

// TestPasswordStaysHome: whoever a registry sends us to does not get to see the password.
func TestPasswordStaysHome(t *testing.T) {
	seen := make(chan string, 8)
	other, _ := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Authorization")
		w.Header().Set("WWW-Authenticate", `Basic realm="give it to me"`)
		w.WriteHeader(http.StatusUnauthorized)
	}})
	host, r := serve(t, map[string]http.HandlerFunc{"GET /v2/x/tags/list": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+other+"/", http.StatusTemporaryRedirect)
	}})
	auth := model.RegistryAuth{Username: "me", Password: "secret", ServerAddress: host}
	if _, err := r.Tags(t.Context(), host+"/x", auth); err == nil {
		t.Error("nobody has answered with tags")
	}
	close(seen)
	for header := range seen {
		if strings.Contains(header, base64.StdEncoding.EncodeToString([]byte("me:secret"))) {
			t.Errorf("another host was told %q", header)
		}
	}
}

func TestTags(t *testing.T) {
	host, r := serve(t, map[string]http.HandlerFunc{
		"GET /v2/x/tags/list": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("last") == "" {
				w.Header().Set("Link", `</v2/x/tags/list?last=1>; rel="next"`)
				answer(http.StatusOK, `{"tags":["1","not a tag"]}`)(w, r)
				return
			}
			answer(http.StatusOK, `{"tags":["2"]}`)(w, r)
		},
		"GET /v2/html/tags/list":   answer(http.StatusOK, "<html>"),
		"GET /v2/denied/tags/list": answer(http.StatusForbidden, `{"errors":[{"code":"DENIED","message":"not you"}]}`),
		"GET /v2/endless/tags/list": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"tags":["1"`)
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(`,"1"`, 1<<14)); err != nil {
					return
				}
			}
		},
		"GET /v2/stuck/tags/list": func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	})
	for _, c := range []struct {
		name, want string
		kind       model.Kind
	}{
		{"x", "[1 2]", model.Internal},
		{"html", "did not answer as a registry does", model.Unfit},
		{"gone", "repository " + host + "/gone not found: not found", model.NotFound},
		{"denied", "error from registry: not you", model.Forbidden},
		{"endless", "the registry's answer is too long: more than 8388608 bytes", model.Unfit},
		{"stuck", "i/o timeout", model.Unfit},
	} {
		tags, err := r.Tags(t.Context(), host+"/"+c.name, model.RegistryAuth{})
		if got := fmt.Sprint(tags, err); !strings.Contains(got, c.want) || model.KindOf(err) != c.kind {
			t.Errorf("%s: %s, of kind %d", c.name, got, model.KindOf(err))
		}
	}
}

func TestInsecure(t *testing.T) {
	listed := []string{"r.example:5000", "http://s.example", "198.51.100.0/24"}
	for host, want := range map[string]bool{
		"r.example:5000": true, "r.example": false, "s.example": true, "198.51.100.7:5000": true, "192.0.2.1": false,
		"127.0.0.1:5000": true, "127.9.9.9": true, "[::1]:443": true, "registry-1.docker.io": false,
	} {
		if got := isInsecure(host, listed); got != want {
			t.Errorf("%s: %t", host, got)
		}
	}
}

func TestExplain(t *testing.T) {
	ref, err := reference.ParseNormalizedNamed("r.example/x:1")
	if err != nil {
		t.Fatal(err)
	}
	status := func(code int, body string) error {
		return fmt.Errorf("resolve: %w", remoteerrors.ErrUnexpectedStatus{Status: http.StatusText(code), StatusCode: code, Body: []byte(body)})
	}
	for _, c := range []struct {
		err  error
		kind model.Kind
		want string
	}{
		{status(429, `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your limit"}]}`), model.Unfit, "error from registry: You have reached your limit"},
		{status(429, ""), model.Unfit, "toomanyrequests: "},
		{status(403, `{"details":"no"}`), model.Forbidden, "requested access to the resource is denied - no"},
		{status(401, `{"errors":[{"code":"UNAUTHORIZED"}]}`), model.Unauthorized, "error from registry: authentication required"},
		{status(500, "<html>"), model.Unfit, "Internal Server Error"},
		{status(503, `{"errors":[{"code":"UNAVAILABLE","message":"a\u001b]0;b"}]}`), model.Unavailable, "error from registry: a]0;b"},
		{model.Errorf(model.Invalid, "ours"), model.Invalid, "ours"},
	} {
		got := Explain(c.err, ref)
		if !strings.Contains(got.Error(), c.want) || model.KindOf(got) != c.kind {
			t.Errorf("%v: %v of kind %d, want %q of %d", c.err, got, model.KindOf(got), c.want, c.kind)
		}
	}
	if Explain(nil, ref) != nil {
		t.Error("no error is one")
	}
}

func TestTransient(t *testing.T) {
	for err, want := range map[error]bool{
		io.ErrUnexpectedEOF: true, syscall.ECONNRESET: true, context.Canceled: false, errors.New("wrong digest"): false,
	} {
		if got := IsTransient(err); got != want {
			t.Errorf("%v: %t", err, got)
		}
	}
}

// FuzzAnswers: whatever a registry says, it is read or refused.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"errors":[{"code":"DENIED","message":"no","detail":"x"}]}`), `</v2/x?n=1>; rel="next"`)
	f.Add([]byte(`{"manifests":[{"platform":{"os":"linux"}}],"results":[{"name":"x"}]}`), "<>")
	f.Add([]byte(`{"errors":[{"code":7}]}`), `<%zz>; rel=next`)
	ref, err := reference.ParseNormalizedNamed("x")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, link string) {
		got := Explain(remoteerrors.ErrUnexpectedStatus{StatusCode: 403, Body: body}, ref)
		if got == nil || strings.ContainsAny(got.Error(), "\x1b\x7f") {
			t.Errorf("%q", got)
		}
		if next := nextPage(link); strings.ContainsAny(next, " \n") {
			t.Errorf("%q", next)
		}
		_, _ = indexPlatforms(body)
		resp := &http.Response{Body: io.NopCloser(strings.NewReader(string(body)))}
		if list, err := found(resp, "x"); err == nil && len(list) > maxResults {
			t.Errorf("%d results", len(list))
		}
	})
}
