package main

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// scripted is an engine.Source that notes what it is asked.
type scripted struct {
	id    model.EndpointID
	asked int
	got   []facts.Fact
	err   error
}

func (s *scripted) Ask(context.Context, facts.Question) (facts.Fact, error) {
	s.asked++
	return facts.Endpoint{ID: s.id}, s.err
}

func (s *scripted) Return(_ context.Context, f, _ facts.Fact) error {
	s.got = append(s.got, f)
	return s.err
}

func (s *scripted) Answers(context.Context) ([]facts.Fact, error) {
	return []facts.Fact{facts.Endpoint{ID: s.id}}, s.err
}

func TestSources(t *testing.T) {
	servers, plugins := &scripted{id: "leased"}, &scripted{id: "plugged"}
	both := sources{servers: servers, plugins: plugins}
	for driver, want := range map[string]model.EndpointID{model.IPAMDHCP: "leased", "default": "plugged", "": "plugged", "somebody": "plugged"} {
		f, err := both.Ask(t.Context(), facts.Question{Network: model.Network{IPAM: model.IPAM{Driver: driver}}})
		if got := f.(facts.Endpoint).ID; err != nil || got != want {
			t.Errorf("IPAM driver %q: asked whoever knows %q (%v), want %q", driver, got, err, want)
		}
	}
	if err := both.Return(t.Context(), facts.Endpoint{ID: "gone"}, nil); err != nil || len(servers.got) != 1 || len(plugins.got) != 1 {
		t.Errorf("returned to servers %v, to plugins %v (%v); want both told", servers.got, plugins.got, err)
	}
	all, err := both.Answers(t.Context())
	if want := []facts.Fact{facts.Endpoint{ID: "leased"}, facts.Endpoint{ID: "plugged"}}; err != nil || !slices.EqualFunc(all, want, func(a, b facts.Fact) bool { return a.Owner() == b.Owner() }) {
		t.Errorf("answers are %v (%v), want %v", all, err, want)
	}
	servers.err = errors.New("the keeper is away")
	if err := both.Return(t.Context(), facts.Endpoint{ID: "gone"}, nil); !errors.Is(err, servers.err) || len(plugins.got) != 2 {
		t.Errorf("with an error of one, Return gives %v and plugins got %v; want that error, and plugins told all the same", err, plugins.got)
	}
	if _, err := both.Answers(t.Context()); !errors.Is(err, servers.err) {
		t.Errorf("Answers hides an error: %v", err)
	}
}
