package netplugin

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/conformance/report"
)

// listen has a plugin behind a socket until the test ends.
func listen(t testing.TB, h http.Handler) (socket string) {
	t.Helper()
	folder, err := os.MkdirTemp("", "conform") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	socket = filepath.Join(folder, "p.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return socket
}

// run plays the suite against a plugin.
func run(t testing.TB, h http.Handler, prefix string) []report.Result {
	t.Helper()
	results, err := Run(t.Context(), Plugin{Name: "p", Socket: listen(t, h), Pool6: "fd00:c0::/64"}, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func text(t testing.TB, results []report.Result) string {
	t.Helper()
	var out strings.Builder
	if err := report.Print(&out, "p", results, true); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestDriverHoldsAll: a plugin that keeps to the protocol passes every case.
func TestDriverHoldsAll(t *testing.T) {
	d := &Driver{RequiresMAC: true}
	results := run(t, d, "")
	if s := report.Sum(results); s.BrokenMust+s.BrokenShould+s.Skipped > 0 || s.Held < 60 {
		t.Errorf("%s", text(t, results))
	}
	if len(d.networks)+len(d.pools) > 0 {
		t.Errorf("the suite leaves %v and %v", d.networks, d.pools)
	}
}

// liar is a plugin that does something else now and then: it changes a call or its answer.
type liar struct {
	*Driver
	method string
	call   func(body string) string
	answer func(status int, body string) (int, string)
}

func (l liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	lies := strings.HasSuffix(r.URL.Path, l.method)
	if lies && l.call != nil {
		body = []byte(l.call(string(body)))
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	l.Driver.ServeHTTP(answer, r)
	status, said := answer.Code, answer.Body.String()
	if lies && l.answer != nil {
		status, said = l.answer(status, said)
	}
	w.WriteHeader(status)
	io.WriteString(w, said)
}

func always(said string) func(int, string) (int, string) {
	return func(int, string) (int, string) { return 200, said }
}

// TestLiarsAreSeen: each way to break the protocol is seen by the case that is about it.
func TestLiarsAreSeen(t *testing.T) {
	for _, l := range []struct {
		seen, method string
		call         func(string) string
		answer       func(int, string) (int, string)
	}{
		{seen: "activate/implements", method: activate, answer: always(`{"Implements":["VolumeDriver","NetworkDriver2"]}`)},
		{seen: "activate/content-type", method: activate},
		{seen: "capabilities/scope", method: "GetCapabilities", answer: always(`{"Scope":"galaxy"}`)},
		{seen: "spaces/named", method: "GetDefaultAddressSpaces", answer: always(`{}`)},
		{seen: "garbage/networkdriver-half", method: "CreateNetwork", answer: always(`{}`)},
		{seen: "garbage/ipamdriver-list", method: "RequestPool", answer: always(`{}`)},
		{seen: "garbage/unknown-method", method: "Conform", answer: always(`{}`)},
		{seen: "network/create", method: "CreateNetwork", answer: always(`{"Err":"no"}`)},
		{seen: "network/create", method: "CreateNetwork", answer: always(`<html>`)},
		{seen: "network/twice", method: "CreateNetwork", answer: always(`{}`)},
		{seen: "network/delete-unknown", method: "DeleteNetwork", answer: always(`{}`)},
		{seen: "network/again", method: "DeleteNetwork", call: func(string) string { return "{}" }, answer: always(`{}`)},
		{seen: "endpoint/interface-kept", method: "CreateEndpoint", answer: always(`{"Interface":{"Address":"10.238.0.5/24"}}`)},
		{seen: "endpoint/mac-chosen", method: "CreateEndpoint", answer: always(`{"Interface":{"MacAddress":"01:00:5e:00:00:01"}}`)},
		{seen: "endpoint/unknown-network", method: "CreateEndpoint", answer: always(`{}`)},
		{seen: "endpoint/info", method: "EndpointOperInfo", answer: always(`{"Value":[]}`)},
		{seen: "join/interface", method: "Join", answer: always(`{"InterfaceName":{"SrcName":"longer-than-a-name-may-be","DstPrefix":"eth"}}`)},
		{seen: "join/gateway", method: "Join", answer: always(`{"Gateway":"10.238.0.1/24"}`)},
		{seen: "join/routes", method: "Join", answer: always(`{"StaticRoutes":[{"Destination":"10.0.0.0/8","RouteType":0,"NextHop":"fd00::1"}]}`)},
		{seen: "join/unknown", method: "Join", answer: always(`{}`)},
		{seen: "join/leave-and-join", method: "Leave", answer: always(`{"Err":"no"}`)},
		{seen: "pool/chosen-ipv6", method: "RequestPool", answer: always(`{"PoolID":"x","Pool":"10.1.0.0/24"}`)},
		{seen: "pool/named", method: "RequestPool", answer: always(`{"PoolID":"x","Pool":"10.1.0.0/24"}`)},
		{seen: "pool/part-of-nothing", method: "RequestPool", answer: always(`{"PoolID":"x","Pool":"10.1.0.0/24"}`)},
		{seen: "address/distinct", method: "RequestAddress", answer: always(`{"Address":"10.238.0.9/24"}`)},
		{seen: "address/chosen", method: "RequestAddress", answer: always(`{"Address":"10.238.0.9"}`)},
		{seen: "address/named", method: "RequestAddress", call: func(body string) string { return strings.Replace(body, "10.238.0.20", "", 1) }},
		{seen: "address/taken", method: "RequestAddress", answer: always(`{"Address":"10.238.0.9/24"}`)},
		{seen: "address/release", method: "ReleaseAddress", call: func(string) string { return "{}" }, answer: always(`{}`)},
	} {
		results := run(t, liar{&Driver{}, l.method, l.call, l.answer}, l.seen)
		if s := report.Sum(results); s.BrokenMust+s.BrokenShould == 0 {
			t.Errorf("a plugin that lies in %s passes %s:\n%s", l.method, l.seen, text(t, results))
		}
	}
}

// ask has an engine make a call.
func ask(c *Checker, method, body string) {
	r := httptest.NewRequest(http.MethodPost, "/"+method, strings.NewReader(body))
	r.Header.Set("Accept", mimeType+".2+json")
	c.ServeHTTP(httptest.NewRecorder(), r)
}

// call is one call of an engine.
type call struct{ method, body string }

// life is what an engine asks in the life of a network and an endpoint.
func life() []call {
	return []call{
		{activate, ""},
		{ipam + "GetCapabilities", ""},
		{ipam + "GetDefaultAddressSpaces", ""},
		{ipam + "RequestPool", `{"AddressSpace":"here","Pool":"10.9.0.0/24","SubPool":"10.9.0.128/25"}`},
		{ipam + "RequestAddress", `{"PoolID":"here/10.9.0.0/24/10.9.0.128/25","Address":"10.9.0.1","Options":{"RequestAddressType":"com.docker.network.gateway"}}`},
		{network + "GetCapabilities", ""},
		{network + "CreateNetwork", `{"NetworkID":"n","IPv4Data":[{"Pool":"10.9.0.0/24","Gateway":"10.9.0.1/24"}]}`},
		{ipam + "RequestAddress", `{"PoolID":"here/10.9.0.0/24/10.9.0.128/25","Options":{"com.docker.network.endpoint.macaddress":"02:42:0a:09:00:81"}}`},
		{network + "CreateEndpoint", `{"NetworkID":"n","EndpointID":"e","Interface":{"Address":"10.9.0.129/24"}}`},
		{network + "Join", `{"NetworkID":"n","EndpointID":"e","SandboxKey":"/run/netns/c"}`},
		{network + "EndpointOperInfo", `{"NetworkID":"n","EndpointID":"e"}`},
		{network + "ProgramExternalConnectivity", `{"NetworkID":"n","EndpointID":"e","Options":{}}`},
		{network + "RevokeExternalConnectivity", `{"NetworkID":"n","EndpointID":"e"}`},
		{network + "Leave", `{"NetworkID":"n","EndpointID":"e"}`},
		{network + "DeleteEndpoint", `{"NetworkID":"n","EndpointID":"e"}`},
		{ipam + "ReleaseAddress", `{"PoolID":"here/10.9.0.0/24/10.9.0.128/25","Address":"10.9.0.129"}`},
		{network + "DiscoverNew", `{"DiscoveryType":1,"DiscoveryData":{"Address":"192.0.2.7"}}`},
		{network + "DeleteNetwork", `{"NetworkID":"n"}`},
		{ipam + "ReleaseAddress", `{"PoolID":"here/10.9.0.0/24/10.9.0.128/25","Address":"10.9.0.1"}`},
		{ipam + "ReleasePool", `{"PoolID":"here/10.9.0.0/24/10.9.0.128/25"}`},
	}
}

// TestCheckerPasses: an engine that keeps to the protocol breaks no rule, and every rule is played.
func TestCheckerPasses(t *testing.T) {
	c := NewChecker(&Driver{RequiresMAC: true})
	for _, q := range life() {
		ask(c, q.method, q.body)
	}
	results := c.Results(true)
	if s := report.Sum(results); s.BrokenMust+s.BrokenShould+s.Skipped > 0 {
		t.Errorf("%s", text(t, results))
	}
	for _, q := range c.Calls() {
		if q.Refused != "" {
			t.Errorf("%s %s is refused: %s", q.Method, q.Body, q.Refused)
		}
	}
}

// TestCheckerSees: each way in which an engine may break the protocol is seen by its rule.
func TestCheckerSees(t *testing.T) {
	drop := func(method string) func([]call) []call {
		return func(calls []call) (out []call) {
			for _, q := range calls {
				if q.method != method {
					out = append(out, q)
				}
			}
			return out
		}
	}
	say := func(method, old, now string) func([]call) []call {
		return func(calls []call) []call {
			for i, q := range calls {
				if q.method == method {
					calls[i].body = strings.Replace(q.body, old, now, 1)
				}
			}
			return calls
		}
	}
	add := func(more ...call) func([]call) []call {
		return func(calls []call) []call { return append(calls, more...) }
	}
	seen := map[string]bool{}
	for _, b := range []struct {
		rule string
		what func([]call) []call
	}{
		{ruleActivate, drop(activate)},
		{ruleRequest, say(network+"CreateNetwork", `{"NetworkID"`, `["NetworkID"`)},
		{ruleKnown, add(call{"NetworkDriver.Dance", "{}"})},
		{ruleNetwork, say(network+"CreateNetwork", "10.9.0.1/24", "10.9.0.1")},
		{ruleNetwork, say(network+"CreateNetwork", "IPv4Data", "IPv6Data")},
		{ruleNetworks, add(call{network + "DeleteNetwork", `{"NetworkID":"n"}`})},
		{ruleInUse, drop(network + "DeleteEndpoint")},
		{ruleEndpoint, say(network+"CreateEndpoint", "10.9.0.129/24", "10.9.0.129")},
		{ruleAddresses, say(network+"CreateEndpoint", "10.9.0.129/24", "10.8.0.129/24")},
		{ruleEndpoints, say(network+"CreateEndpoint", `"n"`, `"m"`)},
		{ruleEndpoints, drop(network + "Leave")},
		{ruleJoin, say(network+"Join", `"e"`, `"f"`)},
		{ruleSandbox, say(network+"Join", `"/run/netns/c"`, `""`)},
		{ruleOutward, drop(network + "Join")},
		{ruleDiscovery, say(network+"DiscoverNew", "192.0.2.7", "")},
		{rulePool, say(ipam+"RequestPool", "10.9.0.128/25", "10.8.0.0/25")},
		{ruleSpace, say(ipam+"RequestPool", `"here"`, `"elsewhere"`)},
		{rulePools, drop(ipam + "RequestPool")},
		{ruleEmptyPools, drop(ipam + "ReleaseAddress")},
		{ruleAddress, say(ipam+"RequestAddress", `"10.9.0.1"`, `"10.8.0.1"`)},
		{ruleMAC, say(ipam+"RequestAddress", "02:42:0a:09:00:81", "")},
		{ruleRelease, say(ipam+"ReleaseAddress", "10.9.0.129", "10.9.0.130")},
		{ruleNothing, drop(ipam + "ReleasePool")},
	} {
		c := NewChecker(&Driver{RequiresMAC: true})
		for _, q := range b.what(life()) {
			ask(c, q.method, q.body)
		}
		seen[b.rule] = true
		broken := false
		for _, r := range c.Results(true) {
			broken = broken || r.Case == b.rule && r.Err != nil
		}
		if !broken {
			t.Errorf("%s is broken, and holds", b.rule)
		}
	}
	c := NewChecker(nil)
	c.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/"+activate, nil))
	if results := c.Results(true); results[2].Case != ruleAccept || results[2].Err == nil {
		t.Errorf("a call without Accept is taken: %+v", results[2])
	}
	for _, r := range rules() {
		if !seen[r.name] && r.name != ruleAccept {
			t.Errorf("nothing breaks %s", r.name)
		}
	}
}

// FuzzChecker: nothing that an engine or a plugin sends breaks the checker.
func FuzzChecker(f *testing.F) {
	for _, q := range life() {
		f.Add(q.method, q.body, `{"PoolID":"p","Pool":"10.0.0.0/8","Address":"10.0.0.1/8"}`)
	}
	f.Fuzz(func(t *testing.T, method, body, answer string) {
		c := NewChecker(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/"+activate {
				json.NewEncoder(w).Encode(one("Implements", []string{NetworkRole, IPAMRole}))
				return
			}
			io.WriteString(w, answer)
		}))
		ask(c, activate, "")
		for range 2 {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.URL.Path = "/" + method
			c.ServeHTTP(httptest.NewRecorder(), r)
		}
		if len(c.Results(true)) != len(rules()) {
			t.Error("a rule is missing")
		}
	})
}
