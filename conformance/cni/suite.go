package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/conformance/report"
)

// Case is one line of the table.
type Case struct {
	// Name is for people: "del/twice".
	Name  string
	Level report.Level
	// Spec is the sentence that it is taken from, or what follows from several.
	Spec string
	// since is the first version of the specification that has it; each plays the case in
	// every version that the plugin speaks from there on, not only in the latest.
	since string
	each  bool
	// interfaces says that it is about plugins that make interfaces.
	interfaces bool
	// needs tells whether a plugin's description has what it takes.
	needs func(Plugin) bool
	play  func(*stage) error
}

// Versions of the specification that are played, the oldest first.
var Versions = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// Levels, by the names that the table has for them.
const (
	Must   = report.Must
	Should = report.Should
)

// Cases returns the table.
func Cases() []Case {
	return slices.Concat(versionCases(), parameterCases(), nameCases(), badConfigurationCases(), configurationCases(),
		addCases(), againCases(), chainCases(), resultCases(), delCases(), missingCases(), freeCases(), checkCases(), lossCases(), statusCases(), collectCases())
}

// Run plays all cases whose names begin with prefix against a plugin. The error says that
// it could not be played at all.
func Run(ctx context.Context, p Plugin, prefix string) ([]report.Result, error) {
	spoken, err := p.versions(ctx)
	if err != nil {
		return nil, err
	}
	var out []report.Result
	for _, c := range Cases() {
		if !strings.HasPrefix(c.Name, prefix) {
			continue
		}
		versions, why := c.versions(p, spoken)
		if why != "" {
			out = append(out, c.result("", nil, why))
		}
		for _, v := range versions {
			out = append(out, c.result(v, play(ctx, p, c, v), ""))
		}
		if err := ctx.Err(); err != nil {
			return out, err
		}
	}
	return out, nil
}

// result is what came of the case in a version, if it was played.
func (c Case) result(version string, err error, skipped string) report.Result {
	return report.Result{Case: c.Name, Spec: c.Spec, Level: c.Level, Version: version, Err: err, Skipped: skipped}
}

// versions returns the versions that the case is played in, or why in none.
func (c Case) versions(p Plugin, spoken []string) (in []string, why string) {
	for _, v := range Versions {
		if slices.Contains(spoken, v) && slices.Index(Versions, v) >= slices.Index(Versions, c.since) {
			in = append(in, v)
		}
	}
	switch {
	case c.interfaces && p.IPAM:
		return nil, "it makes no interfaces"
	case c.needs != nil && !c.needs(p):
		return nil, "its description lacks what it takes"
	case len(in) == 0:
		return nil, "it speaks no version that has it"
	case !c.each:
		in = in[len(in)-1:]
	}
	return in, ""
}

// versions asks the plugin what it speaks.
func (p Plugin) versions(ctx context.Context) ([]string, error) {
	empty := `{"cniVersion": "1.0.0"}`
	o, err := p.run(ctx, call{command: "VERSION", stdin: &empty})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Binary, err)
	}
	r, err := o.parse()
	if err != nil || len(r.SupportedVersions) == 0 {
		return nil, fmt.Errorf("%s does not answer VERSION: %s", p.Binary, o)
	}
	return r.SupportedVersions, nil
}

// play plays one case on a stage of its own, and takes down what it left.
func play(ctx context.Context, p Plugin, c Case, version string) error {
	s := &stage{ctx: ctx, p: p, version: version}
	err := c.play(s)
	return errors.Join(err, s.end())
}

// stage is what one case is played on.
type stage struct {
	ctx     context.Context
	p       Plugin
	version string

	made  []string // namespaces
	added []call   // what may be attached
}

// space makes a network namespace and returns its path.
func (s *stage) space() (string, error) {
	name := fmt.Sprintf("conform%d", len(s.made)+1)
	if _, err := ip(s.ctx, "netns", "add", name); err != nil {
		return "", err
	}
	s.made = append(s.made, name)
	return namespaces + name, nil
}

// container is a call for a container in a namespace of its own.
func (s *stage) container(id string) (call, error) {
	path, err := s.space()
	return call{container: id, namespace: path, ifname: "eth0", version: s.version}, err
}

// name is the name of the namespace that a call is about.
func (c call) name() string { return strings.TrimPrefix(c.namespace, namespaces) }

func (c call) as(command string) call {
	c.command = command
	return c
}

// with is the call with a key of the configuration; nil takes the key out.
func (c call) with(key string, value any) call {
	config := maps.Clone(c.config)
	if config == nil {
		config = map[string]json.RawMessage{}
	}
	if config[key] = nil; value != nil {
		config[key] = jsonOf(value)
	}
	c.config = config
	return c
}

// run calls the plugin, and notes what may be there to be taken down.
func (s *stage) run(c call) (outcome, error) {
	if c.version == "" {
		c.version = s.version
	}
	if c.command == "ADD" {
		s.added = append(s.added, c)
	}
	return s.p.run(s.ctx, c)
}

// good calls the plugin, which must succeed.
func (s *stage) good(c call) (outcome, error) {
	o, err := s.run(c)
	if err == nil && o.status != 0 {
		err = fmt.Errorf("%s fails: %s", c.command, o)
	}
	return o, err
}

// quiet calls the plugin, which must succeed and say nothing.
func (s *stage) quiet(c call) error {
	o, err := s.good(c)
	if err == nil && len(strings.TrimSpace(string(o.stdout))) > 0 {
		err = fmt.Errorf("%s prints something: %s", c.command, o)
	}
	return err
}

// add attaches, and returns the result.
func (s *stage) add(c call) (result, outcome, error) {
	o, err := s.good(c.as("ADD"))
	if err != nil {
		return result{}, o, err
	}
	r, err := o.parse()
	return r, o, err
}

// refused calls the plugin, which must fail as the specification has it, and returns the
// error that it printed.
func (s *stage) refused(c call) (result, error) {
	o, err := s.run(c)
	if err != nil {
		return result{}, err
	}
	if o.status == 0 {
		return result{}, fmt.Errorf("%s succeeds: %s", c.command, o)
	}
	r, err := o.parse()
	if err == nil && (r.Code == nil || r.Msg == "") {
		err = fmt.Errorf("the error has no code or msg: %s", o)
	}
	return r, err
}

// coded is refused, with one of these codes.
func (s *stage) coded(c call, codes ...uint) (result, error) {
	r, err := s.refused(c)
	if err == nil && !slices.Contains(codes, *r.Code) {
		err = fmt.Errorf("the code is %d, want %v (%s: %s)", *r.Code, codes, r.Msg, r.Details)
	}
	return r, err
}

// end takes everything down that may be left, whatever the plugin thinks of it.
func (s *stage) end() error {
	ctx := context.WithoutCancel(s.ctx)
	for _, c := range slices.Backward(s.added) {
		_, _ = s.p.run(ctx, c.as("DEL"))
	}
	var errs []error
	for _, name := range s.made {
		if _, err := ip(ctx, "netns", "delete", name); err != nil && !strings.Contains(err.Error(), "No such file") {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
