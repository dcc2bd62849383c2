package netplugin

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/linkspan/linkspan/conformance/report"
)

// Call is one call that an engine made, and what came of it.
type Call struct {
	Method string
	Body   string
	// Refused is what the plugin said instead of doing it.
	Refused string
}

// Checker stands before a plugin and judges what an engine asks it. It implements
// http.Handler. Its methods may be called from any goroutine.
type Checker struct {
	next   http.Handler
	judges map[string]judge

	mu     sync.Mutex // guards what follows
	calls  []Call
	played map[string]int
	broken map[string][]string
	model  engineModel
}

// NewChecker returns a checker before a plugin; nil is a Driver.
func NewChecker(next http.Handler) *Checker {
	if next == nil {
		next = &Driver{}
	}
	return &Checker{next: next, judges: judges(), played: map[string]int{}, broken: map[string][]string{}, model: newEngineModel()}
}

// rule is something that an engine keeps to.
type rule struct {
	name, spec string
	level      report.Level
}

// Names of rules.
const (
	ruleRequest    = "request/form"
	ruleAccept     = "request/accept"
	ruleKnown      = "request/known-method"
	ruleActivate   = "activate/first"
	ruleNetwork    = "network/fields"
	ruleNetworks   = "network/order"
	ruleInUse      = "network/deleted-when-empty"
	ruleEndpoint   = "endpoint/fields"
	ruleAddresses  = "endpoint/addresses-of-the-network"
	ruleEndpoints  = "endpoint/order"
	ruleJoin       = "join/order"
	ruleSandbox    = "join/sandbox-key"
	ruleOutward    = "outward/of-who-has-joined"
	ruleDiscovery  = "discovery/fields"
	rulePool       = "pool/fields"
	ruleSpace      = "pool/space-was-asked-for"
	rulePools      = "pool/order"
	ruleAddress    = "address/fields"
	ruleMAC        = "address/mac-as-required"
	ruleRelease    = "address/order"
	ruleNothing    = "end/nothing-is-left"
	ruleEmptyPools = "pool/released-when-empty"
)

// rules are all of them, as a report lists them.
func rules() []rule {
	return []rule{
		{ruleActivate, "A plugin is activated before anything else is asked.", report.Must},
		{ruleRequest, "A call is a POST of a JSON object, or of nothing.", report.Must},
		{ruleAccept, "A call says in Accept which version of the protocol is spoken.", report.Must},
		{ruleKnown, "Only methods of the protocol are called, of roles that the plugin has.", report.Must},
		{ruleNetwork, "A new network comes with its ID, and subnets as CIDR with gateways and auxiliary addresses of theirs, each in the list of its family.", report.Must},
		{ruleNetworks, "A network is made once, and deleted once.", report.Must},
		{ruleInUse, "A network is deleted after its endpoints are.", report.Must},
		{ruleEndpoint, "A new endpoint comes with its ID, its network's, and an interface whose addresses are CIDR and its MAC address six bytes.", report.Must},
		{ruleAddresses, "An endpoint's addresses are of its network's subnets.", report.Must},
		{ruleEndpoints, "An endpoint is made on a network that is there, once, and deleted once, after it has left its container.", report.Must},
		{ruleJoin, "An endpoint that is there joins one container at a time, and leaves it.", report.Must},
		{ruleSandbox, "Join names the container's network namespace.", report.Must},
		{ruleOutward, "External connectivity is programmed, and revoked, for an endpoint that has joined.", report.Must},
		{ruleDiscovery, "What is discovered is a node (type 1) with its address.", report.Must},
		{rulePool, "A pool is asked for in an address space; it and its part are CIDR, the part is of the pool, and V6 says the family.", report.Must},
		{ruleSpace, "The address space is one that the plugin named, unless a user did.", report.Should},
		{rulePools, "Only a pool that was given is used and released, as often as it was given.", report.Must},
		{ruleEmptyPools, "A pool is released after its addresses are.", report.Should},
		{ruleAddress, "An address is asked for in its plain form, of the pool.", report.Must},
		{ruleMAC, "A plugin that requires it is told the MAC address of the endpoint that an address is for.", report.Must},
		{ruleRelease, "Only an address that was given is released, once.", report.Must},
		{ruleNothing, "What was made is taken back: endpoints that could not join, addresses and pools of networks that could not be made.", report.Must},
	}
}

// ServeHTTP implements http.Handler.
func (c *Checker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	method := strings.TrimPrefix(r.URL.Path, "/")
	c.request(r, method, body, err)
	answer := recorder{header: http.Header{}, status: http.StatusOK}
	again := r.Clone(r.Context())
	again.Body = io.NopCloser(bytes.NewReader(body))
	c.next.ServeHTTP(&answer, again)
	c.answered(method, body, answer)
	for key, values := range answer.header {
		w.Header()[key] = values
	}
	w.WriteHeader(answer.status)
	w.Write(answer.body.Bytes()) //nolint:errcheck // whoever asked has gone
}

// recorder keeps an answer until it has been looked at.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// hold notes that a rule was played, and how it was broken. The caller has the lock.
func (c *Checker) hold(name, method string, broken ...error) {
	c.played[name]++
	for _, err := range broken {
		if err != nil {
			c.broken[name] = append(c.broken[name], method+": "+err.Error())
		}
	}
}

// request judges a call before the plugin hears it: what is about its form, and what is
// wrong whatever the plugin answers.
func (c *Checker) request(r *http.Request, method string, body []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && r.Method != http.MethodPost {
		err = fmt.Errorf("it is a %s", r.Method)
	}
	if err == nil {
		err = decode(body, &object{})
	}
	c.hold(ruleRequest, method, err)
	var accept error
	if got := r.Header.Get("Accept"); !strings.HasPrefix(got, mimeType) {
		accept = fmt.Errorf("Accept is %q", got)
	}
	c.hold(ruleAccept, method, accept)
	if method == activate {
		c.hold(ruleActivate, method)
		return
	}
	if !c.model.active {
		c.hold(ruleActivate, method, fmt.Errorf("the plugin has not been activated"))
	}
	judge, known := c.judges[method]
	role, _, _ := strings.Cut(method, ".")
	switch {
	case !known:
		c.hold(ruleKnown, method, fmt.Errorf("the protocol has no such method"))
		return
	case c.model.active && !slices.Contains(c.model.roles, role):
		c.hold(ruleKnown, method, fmt.Errorf("the plugin is only %v", c.model.roles))
	default:
		c.hold(ruleKnown, method)
	}
	if judge.before != nil {
		judge.before(c, method, body)
	}
}

// answered learns from what the plugin has done.
func (c *Checker) answered(method string, body []byte, answer recorder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	raw := answer.body.Bytes()
	refused := refusal(answer.status, raw)
	c.calls = append(c.calls, Call{method, string(body), refused})
	if method == activate && refused == "" {
		c.model.activated(raw)
		return
	}
	if refused != "" {
		if judge := c.judges[method]; judge.refused != nil {
			judge.refused(c, body)
		}
		return
	}
	if judge := c.judges[method]; judge.after != nil {
		judge.after(c, body, raw)
	}
}

// Calls returns what was called since the last time.
func (c *Checker) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.calls
	c.calls = nil
	return out
}

// Results tells what the engine has kept to so far. At the end of all that it did nothing
// may be left; end says that this is the end.
func (c *Checker) Results(end bool) []report.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []report.Result
	for _, r := range rules() {
		result := report.Result{Case: r.name, Spec: r.spec, Level: r.level}
		broken, played := slices.Clone(c.broken[r.name]), c.played[r.name]
		if r.name == ruleNothing && end {
			played++
			broken = append(broken, c.model.left()...)
		}
		switch {
		case len(broken) > 0:
			result.Err = fmt.Errorf("%d times: %s", len(broken), strings.Join(broken[:min(len(broken), 5)], "\n"))
		case played == 0:
			result.Skipped = "nothing was asked that it is about"
		}
		out = append(out, result)
	}
	return out
}
