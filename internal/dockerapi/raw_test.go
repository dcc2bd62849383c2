package dockerapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
)

// TestTruthValues: what libraries of all languages send for yes and no (D1).
func TestTruthValues(t *testing.T) {
	for query, want := range map[string]string{
		"v=True&link=False&force=True":     "remove c1 {Force:true Volumes:true}",
		"v=False&link=False&force=False":   "remove c1 {Force:false Volumes:false}",
		"v=1&link=0&force=0":               "remove c1 {Force:false Volumes:true}",
		"v=true&link=NO&force=+none+":      "remove c1 {Force:false Volumes:true}",
		"link=":                            "remove c1 {Force:false Volumes:false}",
		"v=yes&force=on":                   "remove c1 {Force:true Volumes:true}",
		"link=True":                        "unlink c1",
		"link=0&link=1&v=False&force=TRUE": "remove c1 {Force:true Volumes:false}",
	} {
		b := newBench(t)
		b.want(t, 204, "", "DELETE", "/v1.51/containers/c1?"+query)
		if got := b.noted(); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

// TestParameters: where they stand and what is none.
func TestParameters(t *testing.T) {
	for _, c := range []struct {
		method, path, kind, body string
		status                   int
		message, noted           string
	}{
		{"GET", "/containers/json?all=%zz", "", "", 400, `invalid URL escape \"%zz\"`, ""},
		{"GET", "/containers/json?all=1&limit=", "", "", 200, "[]", "list"},
		{"GET", "/containers/json?all=True&size=False&limit=-1&trunc_cmd=0", "", "", 200, "[]", "list"},
		{"GET", "/containers/json?limit=x", "", "", 400, `\"x\" is not a number`, ""},
		{"GET", "/containers/json?filters=%7B%7D", "", "", 200, "[]", "list"},
		{"POST", "/containers/c1/kill", httpkit.FormType, "signal=HUP", 204, "", "kill c1 HUP"},
		{"POST", "/containers/c1/kill?signal=TERM", httpkit.FormType, "", 204, "", "kill c1 TERM"},
		{"POST", "/containers/c1/kill?signal=TERM", "text/plain", "signal=HUP", 204, "", "kill c1 TERM"},
		{"POST", "/containers/c1/kill", httpkit.FormType, "signal=%zz", 400, `invalid URL escape \"%zz\"`, ""},
		{"POST", "/containers/create", httpkit.FormType, `{"Image":"busybox"}`, 400, "unsupported Content-Type header (application/x-www-form-urlencoded): must be 'application/json'", ""},
		{"POST", "/containers/create", "application/json", "", 400, "invalid JSON: EOF", ""},
		{"POST", "/containers/create", "", "", 400, "invalid JSON: EOF", ""},
		{"POST", "/containers/create", "application/json", "  ", 400, "invalid JSON: EOF", ""},
		{"POST", "/containers/create", "application/json", "{}", 400, "config cannot be empty in order to create a container", ""},
		{"POST", "/containers/create", "application/json", `{"Image":"busybox","HostConfig":{"PortBindings":{"19039;1230":[{}]}}}`, 400, "invalid JSON: invalid port '19039;1230': invalid syntax", ""},
		{"POST", "/containers/c1/resize?w=80&h=x", "", "", 400, `{"message":"invalid resize height \"x\": invalid syntax"}`, ""},
		{"POST", "/containers/c1/resize?w=80", "", "", 400, `{"message":"invalid resize height \"\": invalid syntax"}`, ""},
		{"POST", "/containers/c1/resize?w=-80&h=24", "", "", 400, `{"message":"invalid resize width \"-80\": value out of range"}`, ""},
		{"POST", "/exec/e1/resize?w=4294967296&h=24", "", "", 400, `{"message":"invalid resize width \"4294967296\": value out of range"}`, ""},
		{"POST", "/v1.51/containers/app/db/pause", "", "", 204, "", "pause app/db"},
		{"POST", "/containers/app/d%20b/pause", "", "", 204, "", "pause app/d b"},
		{"GET", "/containers/app/db/json", "", "", 200, "", "inspect app/db"},
		{"GET", "/containers/app/db/nothing", "", "", 404, "page not found", ""},
		{"GET", "/containers/app/db/c/json", "", "", 404, "page not found", ""},
		{"GET", "/networks/app/db/json", "", "", 404, "network app/db/json not found", ""},
		{"HEAD", "/containers/json", "", "", 404, "page not found", ""},
		{"HEAD", "/v1.44/_ping", "", "", 200, "", ""},
		{"GET", "/_ping?x=1", "", "", 200, "OK", ""},
		{"GET", "/nowhere?x=%zz", "", "", 404, "page not found", ""},
	} {
		b := newBench(t)
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		if c.kind != "" {
			r.Header.Set("Content-Type", c.kind)
		}
		if c.body == "" {
			r.Body, r.ContentLength = http.NoBody, 0
		}
		r.Header.Set("X-Registry-Auth", "e30=")
		r.Header.Set("X-Registry-Config", "not base64")
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.message) {
			t.Errorf("%s %s %s %q: %d %s, want %d %s", c.method, c.path, c.kind, c.body, w.Code, w.Body, c.status, c.message)
		}
		if got := b.noted(); got != c.noted {
			t.Errorf("%s %s: passed on %q, want %q", c.method, c.path, got, c.noted)
		}
	}
}
