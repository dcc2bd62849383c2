package buildkitd

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/privateapi"
)

// refusing is a daemon that has no network.
type refusing struct{ err error }

func (r refusing) Attach(context.Context, privateapi.Request) (privateapi.Attachment, error) {
	return privateapi.Attachment{}, r.err
}
func (refusing) Detach(context.Context, privateapi.Ref) error { return nil }

// TestStepsAreAwaited: the end waits for those that are there, and lets none begin.
func TestStepsAreAwaited(t *testing.T) {
	n := &networks{daemon: refusing{}, log: slog.New(slog.DiscardHandler)}
	all := n.providers()
	if len(all) != 3 {
		t.Fatalf("%d networks, want default, host and none", len(all))
	}
	step, err := all[pb.NetMode_NONE].New(t.Context(), "", network.NamespaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	spec := &specs.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}}
	if err := step.Set(spec); err != nil || spec.Process.OOMScoreAdj == nil || *spec.Process.OOMScoreAdj != 0 {
		t.Errorf("memory is had of the engine before it is had of a step: %v %v", spec.Process.OOMScoreAdj, err)
	}
	if err := n.await(late); !errors.Is(err, context.Canceled) {
		t.Errorf("a step runs, and the end says %v", err)
	}
	if _, err := all[pb.NetMode_NONE].New(t.Context(), "", network.NamespaceOptions{}); err == nil {
		t.Error("a step begins at the end")
	}
	if err := errors.Join(step.Close(), step.Close()); err != nil {
		t.Error(err)
	}
	if err := n.await(t.Context()); err != nil {
		t.Error(err)
	}
}
