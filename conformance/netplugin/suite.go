package netplugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan/conformance/report"
)

// Plugin is what is checked, and what must be known of it.
type Plugin struct {
	// Name is for the report, Socket the path of its unix socket.
	Name, Socket string
	// Options are those of the networks that are made ("docker network create -o").
	Options map[string]string
	// Pool4 and Pool6 are subnets that it takes, as network driver and for addresses; empty:
	// 10.238.0.0/24, and no IPv6.
	Pool4, Pool6 string
}

// Case is one line of the table.
type Case struct {
	// Name is for people: "endpoint/twice".
	Name  string
	Level report.Level
	// Spec is what the protocol asks for, in a sentence.
	Spec string
	// role is whom it is about; empty: every plugin.
	role string
	// six says that it is about IPv6.
	six  bool
	play func(*stage) error
}

// Cases returns the table.
func Cases() []Case {
	return slices.Concat(activationCases(), garbageCases(), networkCases(), endpointCases(), endpointEnds(), joinCases(), leaveCases(), poolCases(), poolRefusals(), addressCases())
}

// What several cases ask for.
const (
	notThere     = "What is not there is refused."
	neverGiven   = "What was not given cannot be released."
	infoIsObject = "EndpointOperInfo has a Value that is an object."
)

// Limits of a plugin's answers.
const (
	answerTime = 10 * time.Second
	maxAnswer  = 1 << 20
	defaultV4  = "10.238.0.0/24"
	maxBits    = 26 // of a subnet that has room for the cases
)

// Run plays all cases whose names begin with prefix against a plugin. The error says that
// it could not be played at all.
func Run(ctx context.Context, p Plugin, prefix string) ([]report.Result, error) {
	if p.Pool4 == "" {
		p.Pool4 = defaultV4
	}
	if four, err := netip.ParsePrefix(p.Pool4); err != nil || four.Bits() > maxBits {
		return nil, fmt.Errorf("plugin %s: %q is no subnet of 64 addresses or more", p.Name, p.Pool4)
	}
	var dialer net.Dialer
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", p.Socket)
	}}
	s := &stage{ctx: ctx, p: p, client: &http.Client{Transport: transport, Timeout: answerTime}}
	roles, err := s.roles()
	if err != nil {
		return nil, err
	}
	var out []report.Result
	for _, c := range Cases() {
		if !strings.HasPrefix(c.Name, prefix) {
			continue
		}
		r := report.Result{Case: c.Name, Spec: c.Spec, Level: c.Level}
		switch {
		case c.role != "" && !slices.Contains(roles, c.role):
			r.Skipped = "the plugin is no " + c.role
		case c.six && p.Pool6 == "":
			r.Skipped = "its description has no subnet of IPv6"
		default:
			r.Err = s.play(c)
		}
		out = append(out, r)
		if err := ctx.Err(); err != nil {
			return out, err
		}
	}
	return out, nil
}

// stage is what one case after the other is played on.
type stage struct {
	ctx    context.Context
	p      Plugin
	client *http.Client

	drawn int      // IDs, so that no case meets what another left
	undo  []func() // takes back what a case has made, the last first
}

// play plays one case and takes back what it made.
func (s *stage) play(c Case) error {
	err := c.play(s)
	for _, undo := range slices.Backward(s.undo) {
		undo()
	}
	s.undo = nil
	return err
}

// id returns an ID that nothing has yet, as long as Docker's.
func (s *stage) id() string {
	s.drawn++
	return fmt.Sprintf("%012x%052x", s.drawn, time.Now().UnixNano())
}

// answer is what a plugin said.
type answer struct {
	status int
	header http.Header
	raw    []byte
}

func (a answer) String() string { return fmt.Sprintf("status %d: %.300s", a.status, a.raw) }

// post makes a call with a body as it is.
func (s *stage) post(method string, body []byte) (answer, error) {
	return s.send(http.MethodPost, method, body)
}

func (s *stage) send(verb, method string, body []byte) (answer, error) {
	r, err := http.NewRequestWithContext(s.ctx, verb, "http://plugin.moby.localhost/"+method, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Accept", mimeType+".2+json")
	r.Header.Set("Content-Type", mimeType+".2+json")
	got, err := s.client.Do(r)
	if err != nil {
		return answer{}, fmt.Errorf("%s is not answered: %w", method, err)
	}
	defer got.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(got.Body, maxAnswer+1))
	if err == nil && len(raw) > maxAnswer {
		err = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", method, err)
	}
	return answer{got.StatusCode, got.Header, raw}, nil
}

// do makes a call that must succeed, and reads the answer into out unless that is nil.
func (s *stage) do(method string, in, out any) error {
	a, err := s.call(method, in)
	if err != nil {
		return err
	}
	if text := refusal(a.status, a.raw); text != "" {
		return fmt.Errorf("%s is refused: %s", method, text)
	}
	if out == nil {
		out = &object{}
	}
	if err := decode(a.raw, out); err != nil {
		return fmt.Errorf("%s: %w: %s", method, err, a)
	}
	return nil
}

func (s *stage) call(method string, in any) (answer, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return answer{}, err
		}
	}
	return s.post(method, body)
}

// refused makes a call that must not succeed, and that must be answered.
func (s *stage) refused(method string, in any) error {
	a, err := s.call(method, in)
	if err == nil && refusal(a.status, a.raw) == "" {
		err = fmt.Errorf("%s succeeds: %s", method, a)
	}
	return err
}

// roles activates the plugin.
func (s *stage) roles() ([]string, error) {
	var said struct{ Implements []string }
	err := s.do(activate, nil, &said)
	return said.Implements, err
}

// lives tells whether the plugin still answers.
func (s *stage) lives() error {
	if _, err := s.roles(); err != nil {
		return fmt.Errorf("the plugin does not answer any more: %w", err)
	}
	return nil
}

// both are errors of two things that must hold.
func both(first error, second func() error) error { return errors.Join(first, second()) }
