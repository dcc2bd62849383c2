package prune

import (
	"context"
	"log/slog"
	"testing"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// asking stands for containers that ask for a prune while one runs.
type asking struct {
	pruner *Pruner
	err    error
}

func (a *asking) Records() []containerrecord.Record {
	_, a.err = a.pruner.Prune(context.Background(), query.Filters{})
	return nil
}

func (*asking) Size(context.Context, string) (int64, int64, error)     { return 0, 0, nil }
func (*asking) RemoveStopped(context.Context, model.ContainerID) error { return nil }

// TestOneAtATime: a prune beside another is refused, and the next one is not.
func TestOneAtATime(t *testing.T) {
	a := &asking{}
	a.pruner = New(a, &events.Bus{}, slog.New(slog.DiscardHandler))
	for range 2 {
		if _, err := a.pruner.Prune(t.Context(), query.Filters{}); err != nil {
			t.Fatal(err)
		}
		if model.KindOf(a.err) != model.Conflict || a.err.Error() != "a prune operation is already running" {
			t.Errorf("beside another: %v", a.err)
		}
	}
}
