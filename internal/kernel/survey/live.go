package survey

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/kernel/nft/livetrace"
	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// settling is how long is waited for what an attempt that is over still sets off.
const settling = 100 * time.Millisecond

// Live follows what attempt sends through the rules of each place, and tells what they did to
// it and to the answer. Nothing of it is left afterwards, also if this process is killed
// meanwhile. A place that cannot be followed is named in the answer.
func (s *Surveyor) Live(ctx context.Context, q evidence.LiveQuestion, attempt func()) evidence.Live {
	out := evidence.Live{Failed: map[string]string{}}
	question := livetrace.Question{Protocol: q.Protocol, From: q.From, Targets: q.Targets}
	watches := make([]*livetrace.Watch, len(q.Places))
	for i, p := range q.Places {
		if err := s.enter(ctx, p.Namespace, func(fd int) (err error) {
			watches[i], err = livetrace.Start(ctx, fd, question)
			return err
		}); err != nil {
			out.Failed[p.Name] = err.Error()
		}
	}
	attempt()
	select {
	case <-time.After(settling):
	case <-ctx.Done():
	}
	var answers []evidence.LiveStep
	for i, w := range watches {
		if w == nil {
			continue
		}
		events, lost := w.Stop()
		out.Lost = out.Lost || lost
		there, back := s.steps(ctx, q, q.Places[i], events)
		out.Steps = append(out.Steps, there...)
		answers = append(back, answers...) // they come by the places the other way round
	}
	out.Steps = append(out.Steps, answers...)
	return out
}

// steps says what the rules of one place did: on the way there, and back.
func (s *Surveyor) steps(ctx context.Context, q evidence.LiveQuestion, at evidence.Place, events []livetrace.Event) (there, back []evidence.LiveStep) {
	reader := eventReader{place: at.Name, targets: q.Targets, links: map[uint32]string{}, ends: map[uint32]livetrace.Event{}}
	_ = s.enter(ctx, at.Namespace, func(fd int) error { // without it, rules have no text
		if all, err := net.Interfaces(); err == nil {
			for _, l := range all {
				reader.links[uint32(l.Index)] = l.Name
			}
		}
		reader.rules, _ = trace.Read(ctx, fd)
		return nil
	})
	for _, e := range events {
		step := reader.step(e)
		if e.Ends {
			continue // what comes of it is another event
		}
		if step.Answer {
			back = append(back, step)
		} else {
			there = append(there, step)
		}
	}
	return there, back
}

// eventReader gives events of one namespace words.
type eventReader struct {
	place   string
	targets []netip.AddrPort
	links   map[uint32]string
	rules   *trace.Ruleset             // nil: not known
	ends    map[uint32]livetrace.Event // the last that told of a packet's ends, by the packet
}

func (r *eventReader) step(e livetrace.Event) evidence.LiveStep {
	if e.From.IsValid() {
		r.ends[e.ID] = e
	}
	known := r.ends[e.ID]
	out := evidence.LiveStep{
		Place: r.place, In: r.links[known.In], Out: r.links[known.Out], Table: (&trace.Table{Family: e.Family, Name: e.Table}).String(), Chain: e.Chain,
		Verdict: e.Verdict, Ours: strings.HasPrefix(e.Table, "linkspan") || trace.OursByName(e.Chain, e.Verdict),
		Answer: slices.ContainsFunc(r.targets, func(t netip.AddrPort) bool {
			return t.Addr() == known.From.Addr() && (t.Port() == known.From.Port() || t.Port() == 0)
		}),
	}
	if known.From.IsValid() {
		out.Packet = fmt.Sprintf("%s > %s", endText(known.From), endText(known.To))
	}
	if e.Handle == 0 || r.rules == nil {
		return out
	}
	for _, t := range r.rules.Tables {
		if t.Family != e.Family || t.Name != e.Table {
			continue
		}
		if c := t.Chain(e.Chain); c != nil {
			i := slices.IndexFunc(c.Rules, func(rule trace.Rule) bool { return rule.Handle == e.Handle })
			if i >= 0 {
				out.Rule, out.Comment = t.Text(&c.Rules[i]), c.Rules[i].Comment
			}
		}
	}
	out.Rule = cmp.Or(out.Rule, fmt.Sprintf("rule %d, which is gone", e.Handle))
	return out
}

func endText(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}
