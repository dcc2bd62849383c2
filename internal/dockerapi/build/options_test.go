package build

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

// request returns a request with a query, as a client of 1.50 sends it.
func request(t testing.TB, query string) *httpkit.Request {
	t.Helper()
	r, err := httpkit.NewRequest(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/build?"+query, http.NoBody), 50)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParseOptions(t *testing.T) {
	q := url.Values{
		"dockerfile": {"sub/Dockerfile"}, "t": {"app:1", "app:2"}, "target": {"base"}, "platform": {"linux/arm64"}, "networkmode": {"none"}, "extrahosts": {"db:10.0.0.1"},
		"nocache": {"1"}, "pull": {"true"}, "q": {"on"}, "memory": {"1000"}, "cpuquota": {"odd"}, "shmsize": {"64"}, "session": {"s1"}, "remote": {"client-session"}, "version": {"2"},
		"buildargs": {`{"A":"1","UNSET":null}`}, "labels": {`{"l":"v"}`}, "cachefrom": {`["base:1"]`}, "ulimits": {`[{"Name":"nofile","Soft":1,"Hard":2}]`},
		"outputs": {`[{"Type":"local","Attrs":{"dest":"."}}]`},
	}
	want := wire.Build{
		Dockerfile: "sub/Dockerfile", Tags: []string{"app:1", "app:2"}, Target: "base", Platform: "linux/arm64", Network: "none", Hosts: []string{"db:10.0.0.1"},
		NoCache: true, Pull: true, Quiet: true, Memory: 1000, ShmSize: 64, Session: "s1", Remote: "client-session", Trace: true,
		Args: map[string]string{"A": "1"}, Labels: map[string]string{"l": "v"}, CacheFrom: []string{"base:1"}, Ulimits: []string{"nofile=1:2"},
		Outputs: []wire.Output{{Type: "local", Attrs: map[string]string{"dest": "."}}},
	}
	got, err := parseOptions(request(t, q.Encode()))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v\nwant %+v", got, err, want)
	}
}

func TestBadOptions(t *testing.T) {
	for query, want := range map[string]string{
		"version=3":               `invalid version "3"`,
		"shmsize=x":               "invalid shmsize",
		"squash=1":                "squash is only supported with experimental mode",
		"securityopt=x":           "security options are not supported on linux",
		"isolation=hyperv":        `unsupported isolation: "hyperv"`,
		"buildargs=[]":            "error reading build args",
		"labels=x":                "error reading labels",
		"cachefrom={}":            "error reading cache-from",
		"ulimits=x":               "error reading ulimit settings",
		"ulimits=%5Bnull%5D":      "error reading ulimit settings: one is null",
		"outputs=x":               "invalid outputs specified",
		"isolation=default&q=1&x": "",
	} {
		_, err := parseOptions(request(t, query))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || model.KindOf(err) != model.Invalid) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
}

func TestParseAuth(t *testing.T) {
	header := base64.URLEncoding.EncodeToString([]byte(`{"reg:5000":{"username":"me","password":"secret"},"other":{},"https://index.docker.io/v1/":{"identitytoken":"t"}}`))
	want := map[string]wire.Auth{"reg:5000": {Username: "me", Password: "secret"}, "https://index.docker.io/v1/": {IdentityToken: "t"}}
	if got := parseAuth(header); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, bad := range []string{"", "e30=", "not base64", base64.URLEncoding.EncodeToString([]byte("[]"))} {
		if got := parseAuth(bad); len(got) != 0 {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestParsePrune(t *testing.T) {
	for query, want := range map[string]wire.Prune{
		"": {}, "all=1": {All: true},
		"keep-storage=5": {ReservedSpace: 5}, "keep-storage=5&reserved-space=7&max-used-space=8&min-free-space=9": {ReservedSpace: 7, MaxUsed: 8, MinFree: 9},
		`filters={"until":["24h"]}`:                 {KeepFor: 24 * time.Hour},
		`filters={"unused-for":["1h"]}`:             {KeepFor: time.Hour},
		`filters={"id":["abc"],"type":["regular"]}`: {Filters: []string{"id~=abc", "type==regular"}},
	} {
		got, err := parsePrune(request(t, query))
		got.KeepFor = got.KeepFor.Round(time.Minute)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v, want %+v", query, got, err, want)
		}
	}
	for query, want := range map[string]string{
		`filters={"odd":["1"]}`:                        "invalid filter 'odd'",
		`filters={"until":["1h"],"unused-for":["1h"]}`: "conflicting filters",
		`filters={"until":["1h","2h"]}`:                "only one value",
		`filters={"until":["soon"]}`:                   `"until" filter expects a duration`,
		`filters={"type":["a","b"]}`:                   "only one value",
		`filters={"type":["a,id~=b"]}`:                 "invalid value for filter type",
		"reserved-space=x":                             "reserved-space is in bytes and expects an integer",
	} {
		if _, err := parsePrune(request(t, query)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
}

// FuzzOptions expects that whatever a client asks for is either refused or can be told to
// the builder.
func FuzzOptions(f *testing.F) {
	for _, q := range []string{"", "t=a&t=b&buildargs={\"A\":null}", "ulimits=[{}]&outputs=[{\"Attrs\":{\"\":\"\"}}]", "labels={}&filters={\"until\":[\"1\"]}", "shmsize=-1&memory=9223372036854775808"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := request(t, "")
		var err error
		if r.Query, err = url.ParseQuery(query); err != nil {
			return // is refused before
		}
		if _, err := parseOptions(r); err != nil && model.KindOf(err) != model.Invalid {
			t.Errorf("options: %v", err)
		}
		if p, err := parsePrune(r); err == nil {
			for _, one := range p.Filters {
				if strings.Contains(one, ",") {
					t.Errorf("filter %q holds two conditions", one)
				}
			}
		}
	})
}
