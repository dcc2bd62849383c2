package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/linkspan/linkspan/lab"
)

const (
	commandTime = 3 * time.Minute // for one docker command: docker.io takes long for many ports
	serveTime   = 5 * time.Second // what was just started needs a moment until it serves
	upstream    = "203.0.113.1"   // world's second address, where the test's DNS server answers
)

// side is one of the engines, alone in a lab of its own.
type side struct {
	name    string
	daemons []string // its processes, by name: they are what memory and processor time are counted of
	lab     *lab.Lab
	host    *lab.Host
}

// up starts an engine, with the images loaded, and starts it once more, so that what loading took is forgotten.
func up(ctx context.Context, name, daemon string, daemons ...string) (*side, error) {
	l, err := lab.Up(lab.Options{Engine: daemon})
	if err != nil {
		return nil, err
	}
	s := &side{name: name, daemons: daemons, lab: l, host: l.Host(1)}
	start := func() error {
		if err := s.host.SetResolvConf("nameserver " + upstream + "\n"); err != nil {
			return err
		}
		if err := s.host.Start(ctx); err != nil {
			return err
		}
		if err := s.host.Load(ctx, "busybox", "tools"); err != nil {
			return err
		}
		if err := s.host.Stop(ctx); err != nil {
			return err
		}
		return s.host.Start(ctx)
	}
	if err := start(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.down())
	}
	return s, nil
}

// down removes the containers and ends the engine and the lab.
func (s *side) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	var problems []error
	if all, err := s.host.Docker(ctx, "ps", "--all", "--quiet"); err == nil && all != "" {
		problems = append(problems, s.remove(ctx, strings.Fields(all)...))
	}
	_ = s.host.Stop(ctx) // it may have ended: Close ends what is left
	return errors.Join(append(problems, s.lab.Close())...)
}

// run runs a docker command and returns how long it took.
func (s *side) run(ctx context.Context, args ...string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	begin := time.Now()
	_, err := s.host.Docker(ctx, args...)
	return time.Since(begin), err
}

// remove removes containers, however they are.
func (s *side) remove(ctx context.Context, names ...string) error {
	_, err := s.run(ctx, append([]string{"rm", "--force"}, names...)...)
	return err
}

// inside returns the words that run a command in the network namespace of a container, before which and after which
// nothing else differs from running it on the host.
func (s *side) inside(ctx context.Context, container string) ([]string, error) {
	pid, err := s.host.Docker(ctx, "inspect", "--format", "{{.State.Pid}}", container)
	return []string{"nsenter", "--net=/proc/" + strings.TrimSpace(pid) + "/ns/net", "--"}, err
}

// report runs a command on a machine and reads the JSON that it prints.
func report[T any](ctx context.Context, m *lab.Machine, args ...string) (T, error) {
	var to T
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := m.Run(ctx, args...)
	if err != nil {
		return to, err
	}
	if err := json.Unmarshal([]byte(out), &to); err != nil {
		return to, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return to, nil
}
