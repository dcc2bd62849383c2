package main

import (
	"context"
	"errors"

	"github.com/linkspan/linkspan/internal/engine"
	"github.com/linkspan/linkspan/internal/facts"
)

// sources is one engine.Source of several: what is known of other hosts nobody asks for; on a network with a DHCP server it is asked what an
// endpoint has, and on all others plugins are.
type sources struct {
	servers, plugins engine.Source
	hosts            func() []facts.Fact // nil: of them nothing is known
}

// Ask implements engine.Source.
func (s sources) Ask(ctx context.Context, q facts.Question) (facts.Fact, error) {
	if q.Network.Leased() {
		return s.servers.Ask(ctx, q)
	}
	return s.plugins.Ask(ctx, q)
}

// Return implements engine.Source. A fact does not say who has said it: each takes back
// what it has given, and what the other has is nothing to it.
func (s sources) Return(ctx context.Context, f, kept facts.Fact) error {
	return errors.Join(s.servers.Return(ctx, f, kept), s.plugins.Return(ctx, f, kept))
}

// Answers implements engine.Source.
func (s sources) Answers(ctx context.Context) ([]facts.Fact, error) {
	leased, err := s.servers.Answers(ctx)
	if err != nil {
		return nil, err
	}
	if s.hosts != nil {
		leased = append(leased, s.hosts()...)
	}
	said, err := s.plugins.Answers(ctx)
	return append(leased, said...), err
}
