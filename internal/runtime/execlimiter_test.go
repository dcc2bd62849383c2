package runtime

import (
	"context"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestExecLimiter(t *testing.T) {
	var g execLimiter
	var leave []func()
	for range execStarts {
		out, err := g.enter(t.Context(), "c1")
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, out)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.enter(over, "c1"); model.KindOf(err) != model.Unavailable {
		t.Fatalf("one too many: %v", err)
	}
	if _, err := g.enter(t.Context(), "c2"); err != nil {
		t.Fatalf("another container's gate: %v", err)
	}
	leave[0]()
	if _, err := g.enter(t.Context(), "c1"); err != nil {
		t.Fatalf("after one left: %v", err)
	}
	open, err := g.close(t.Context(), "c3")
	if err != nil {
		t.Fatalf("a gate that nobody is in: %v", err)
	}
	if _, err := g.enter(over, "c3"); model.KindOf(err) != model.Unavailable {
		t.Fatalf("a closed gate: %v", err)
	}
	g.pause("c3", true)
	open()
	if _, err := g.enter(t.Context(), "c3"); model.KindOf(err) != model.Conflict {
		t.Fatalf("a paused container: %v", err)
	}
	g.pause("c3", false)
	for range execStarts {
		if _, err := g.enter(t.Context(), "c3"); err != nil {
			t.Fatalf("after the pause: %v", err)
		}
	}
	if _, err := g.close(over, "c3"); model.KindOf(err) != model.Unavailable {
		t.Fatalf("closed with somebody inside: %v", err)
	}
	g.forget("c1")
	leave[1]() // of one that is forgotten: nobody is hurt
}
