package dockerapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

func TestVersions(t *testing.T) {
	b := newBench(t)
	b.want(t, 400, "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version", "GET", "/v1.23/_ping")
	b.want(t, 400, "client version 1.99 is too new. Maximum supported API version is 1.56", "GET", "/v1.99/_ping")
	b.want(t, 400, "client version 2.0 is too new", "GET", "/v2.0/_ping")
	b.want(t, 400, "client version 1 is too old", "GET", "/v1/_ping")
	for _, path := range []string{"/v1.x/_ping", "/v1.99999999/_ping", "/v1.40", "/v", "/", "/vexed", "/v1.40/", "/v1.40/nothing", "/containers/x/nothing"} {
		b.want(t, 404, `{"message":"page not found"}`, "GET", path)
	}
	b.want(t, 404, "page not found", "PATCH", "/containers/json")
	for v := httpkit.OldestVersion; v <= httpkit.NewestVersion; v++ {
		b.want(t, 200, "OK", "GET", fmt.Sprintf("/v%s/_ping", v))
	}
}

// TestOldestVersion: min-api-version leaves old clients out, and says so to all.
func TestOldestVersion(t *testing.T) {
	b := newBench(t)
	b.with(func(o *Options) { o.Info.OldestAPI = 44 })
	b.want(t, 400, "client version 1.43 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version", "GET", "/v1.43/_ping")
	b.want(t, 200, "OK", "GET", "/v1.44/_ping")
	b.want(t, 200, `"MinAPIVersion":"1.44"`, "GET", "/version")
	b.with(func(o *Options) { o.Info.OldestAPI = 99 })
	b.want(t, 200, "OK", "GET", "/v1.56/_ping")
}

func TestPing(t *testing.T) {
	b := newBench(t)
	for _, method := range []string{"GET", "HEAD"} {
		w := b.ask(method, "/_ping", "")
		for key, want := range map[string]string{
			"Api-Version": "1.56", "Ostype": "linux", "Docker-Experimental": "false", "Server": "Linkspan/0.1.0 (linux)",
			"Swarm": "inactive", "Cache-Control": "no-cache, no-store, must-revalidate",
		} {
			if got := w.Header().Get(key); got != want {
				t.Errorf("%s: %s: %q, want %q", method, key, got, want)
			}
		}
		if want := map[string]string{"GET": "OK", "HEAD": ""}[method]; w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %q", method, w.Code, w.Body)
		}
	}
	if got := b.ask("GET", "/v1.23/_ping", "").Header().Get("Api-Version"); got != "1.56" {
		t.Errorf("a refused client cannot learn the version: %q", got)
	}
}

func TestStatusOfEveryKind(t *testing.T) {
	b := newBench(t)
	for kind, status := range map[model.Kind]int{
		model.Internal: 500, model.Invalid: 400, model.NotFound: 404, model.Conflict: 409, model.Forbidden: 403,
		model.NotModified: 304, model.Unavailable: 503, model.NotImplemented: 501, model.Unfit: 500,
	} {
		b.err = &model.Error{Kind: kind, Err: errors.New(`<no> "good"`), Who: "c2 has it", Way: "stop c2"}
		w := b.ask("POST", "/containers/c1/start", "")
		want := `{"message":"<no> \"good\"\nc2 has it\nstop c2"}` + "\n"
		if kind == model.NotModified {
			want = ""
		}
		if w.Code != status || w.Body.String() != want {
			t.Errorf("kind %d: %d %s, want %d %s", kind, w.Code, w.Body, status, want)
		}
	}
	b.err = errors.New("plain")
	b.want(t, 500, "plain", "POST", "/containers/c1/start")
	b.err = fmt.Errorf("set up: %w", model.Errorf(model.Forbidden, "Address already in use"))
	b.want(t, 403, "set up: Address already in use", "POST", "/containers/c1/start")
}

func TestBodies(t *testing.T) {
	b := newBench(t)
	send := func(contentType, body string) (int, string) {
		r := httptest.NewRequest("POST", "/networks/create", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		var answer struct{ Message string }
		_ = json.Unmarshal(w.Body.Bytes(), &answer)
		return w.Code, answer.Message
	}
	for _, c := range []struct {
		kind, body string
		status     int
		message    string
	}{
		{"text/plain", `{"Name":"x"}`, 400, "unsupported Content-Type header (text/plain): must be 'application/json'"},
		{"", `{"Name":"x"}`, 400, "malformed Content-Type header (): mime: no media type"},
		{"application/json", `{"Name":`, 400, "invalid JSON: unexpected EOF"},
		{"application/json", "  ", 400, "invalid JSON: got EOF while reading request body"},
		{"application/json", `{"Name":"x"}{}`, 400, "unexpected content after JSON"},
		{"application/json", `{"Name":7}`, 400, "invalid JSON: json: cannot unmarshal number"},
		{"application/json", `{"Name":"x","IPAM":{"Config":[{"Subnet":"nonsense"}]}}`, 400, `invalid JSON: netip.ParsePrefix("nonsense")`},
		{"application/json", `{"Name":"x","IPAM":{"Config":[{"Gateway":"nonsense"}]}}`, 400, `invalid JSON: ParseAddr("nonsense")`},
		{"application/json", `{"Name":"` + strings.Repeat("x", 100_000) + `"}`, 400, "invalid name: "},
		{"application/json", `{"Name":"` + strings.Repeat("x", httpkit.MaxBody) + `"}`, 413, "request body is larger than 8388608 bytes"},
		{"application/json", "null", 400, "invalid name: name is empty"},
		{"application/json; charset=utf-8", `{"Name":"fine"}`, 201, ""},
	} {
		status, message := send(c.kind, c.body)
		if status != c.status || !strings.HasPrefix(message, c.message) {
			t.Errorf("%q %.60q: %d %.200q, want %d %q", c.kind, c.body, status, message, c.status, c.message)
		}
	}
}

// TestEmptyBodies: whatever is posted without a body must not be our fault.
func TestEmptyBodies(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{
		"/networks/create", "/networks/bridge/connect", "/networks/bridge/disconnect", "/networks/prune", "/containers/create",
		"/containers/x/start", "/containers/x/update", "/containers/x/exec", "/containers/prune",
		"/images/load", "/images/create", "/images/prune", "/build", "/volumes/create", "/auth", "/commit",
	} {
		if w := b.ask("POST", path, ""); w.Code >= 500 && w.Code != 501 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	b.want(t, 400, "invalid JSON: EOF", "POST", "/containers/create")
	b.want(t, 400, "No exec command specified", "POST", "/containers/x/exec")
}

func TestLongNames(t *testing.T) {
	b := newBench(t)
	long := strings.Repeat("n", 100_000)
	b.want(t, 400, "at most 4096 are allowed", "POST", "/containers/create?name="+long, `{"Image":"busybox"}`)
	b.want(t, 400, "at most 4096 are allowed", "POST", "/containers/c/rename?name="+long)
	b.want(t, 400, "the request's path has", "GET", "/networks/"+long)
	if got := b.noted(); got != "" {
		t.Errorf("passed on: %.100s", got)
	}
}

func TestNamesAreUnescaped(t *testing.T) {
	b := newBench(t)
	b.want(t, 204, "", "POST", "/v1.50/containers/"+url.PathEscape("a b/c?d")+"/start")
	b.want(t, 204, "", "POST", "/containers/"+url.PathEscape("ü")+"/pause")
	if got := b.noted(); got != "start a b/c?d; pause ü" {
		t.Error(got)
	}
}

func TestPanicIsAnswered(t *testing.T) {
	b := newBench(t)
	b.waiting = nil
	b.with(func(o *Options) { o.Containers = nil })
	b.want(t, 500, "internal error", "GET", "/containers/x/json")
	b.want(t, 200, "OK", "GET", "/_ping")
}

func TestObserve(t *testing.T) {
	b := newBench(t)
	var seen []string
	b.with(func(o *Options) {
		o.Observe = func(route string, status int, _ time.Duration) { seen = append(seen, fmt.Sprint(route, " ", status)) }
	})
	b.ask("GET", "/v1.40/networks/bridge", "")
	b.ask("GET", "/v1.40/networks/nobody", "")
	b.ask("GET", "/nowhere", "")
	want := "[GET /networks/{id...} 200 GET /networks/{id...} 404  404]"
	if fmt.Sprint(seen) != want {
		t.Errorf("%v, want %s", seen, want)
	}
}

func TestAbsentFeatures(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/services", "/services/x", "/nodes", "/tasks", "/swarm", "/secrets", "/configs"} {
		b.want(t, 503, `{"message":"This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."}`, "GET", path)
	}
	b.want(t, 200, `[]`, "GET", "/plugins")
	b.want(t, 404, `plugin \"x\" not found`, "GET", "/plugins/x/json")
	b.want(t, 501, "managed plugins are not supported", "POST", "/plugins/pull")
	b.want(t, 501, "managed plugins are not supported", "DELETE", "/plugins/x")
}

// TestWhoseFaultIsLogged: ours as an error, a user's that is answered like ours as
// something to know, and nothing else.
func TestWhoseFaultIsLogged(t *testing.T) {
	b := newBench(t)
	var logged bytes.Buffer
	b.with(func(o *Options) { o.Logger = textLogger(&logged) })
	for _, c := range []struct {
		err    error
		status int
		level  string
	}{
		{errors.New("disk on fire"), 500, "ERROR"},
		{model.Errorf(model.Internal, "disk on fire"), 500, "ERROR"},
		{fmt.Errorf("start: %w", model.Errorf(model.Unfit, "port is already allocated")), 500, "INFO"},
		{model.Errorf(model.Conflict, "it runs"), 409, ""},
		{fmt.Errorf("stop: %w", context.Canceled), 500, ""},
	} {
		logged.Reset()
		b.err = c.err
		b.want(t, c.status, c.err.Error(), "POST", "/containers/x/stop")
		_, level, _ := strings.Cut(logged.String(), "level=")
		if level, _, _ = strings.Cut(level, " "); level != c.level {
			t.Errorf("%v is logged with level %q, want %q: %s", c.err, level, c.level, &logged)
		}
	}
}
