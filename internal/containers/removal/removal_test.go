package removal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// flaky refuses to remove a container as often as it says.
type flaky struct {
	mu     sync.Mutex
	times  map[model.ContainerID]int
	gone   map[model.ContainerID]time.Time
	asleep error
}

func (f *flaky) Delete(_ context.Context, id model.ContainerID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.times[id]--; f.times[id] >= 0 {
		return f.asleep
	}
	f.gone[id] = time.Now()
	return nil
}

func (f *flaky) Do(context.Context, ops.Op) (*state.Snapshot, error) { return state.Empty(), nil }

func finisher(t *testing.T, f *flaky) (*Finisher, context.CancelFunc) {
	closed, end := context.WithCancel(context.Background())
	return &Finisher{
		Engine: f, Runtime: f, Dirs: containerfiles.Dirs{Root: t.TempDir()}, Closed: closed, Work: &sync.WaitGroup{}, Log: slog.New(slog.DiscardHandler),
	}, end
}

// TestTriedAgainUntilDone: every removal is finished, at the latest a minute after it can be, and then nobody is
// about them any more.
func TestTriedAgainUntilDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{times: map[model.ContainerID]int{"once": 1, "often": 9}, gone: map[model.ContainerID]time.Time{}, asleep: errors.New("containerd is starting")}
		c, end := finisher(t, f)
		defer end()
		for _, id := range []model.ContainerID{"once", "often"} {
			left := Remains{ID: id, Made: true}
			if err := c.Now(t.Context(), left); err == nil || !c.Later(left) {
				t.Fatalf("%s: removed at once (%v), or not taken", id, err)
			}
		}
		began := time.Now()
		c.Work.Wait()
		if after := f.gone["once"].Sub(began); after > finishFirst {
			t.Errorf("what can be removed waits for %s", after)
		}
		// 1 + 2 + 4 + 8 + 16 + 32 s, then once a minute
		if after := f.gone["often"].Sub(began); after <= 2*finishFirst || after > 63*time.Second+3*finishLast {
			t.Errorf("what was refused nine times is gone after %s", after)
		}
		if !c.Later(Remains{ID: "late", Made: true}) {
			t.Fatal("nothing is taken any more")
		}
		c.Work.Wait()
		if _, gone := f.gone["late"]; !gone {
			t.Error("what came when nobody was about it stays")
		}
	})
}

// TestTakesNoMore: there is a bound, and after the end nothing is taken, which the caller is told.
func TestTakesNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{times: map[model.ContainerID]int{"stuck": 1 << 30}, gone: map[model.ContainerID]time.Time{}, asleep: errors.New("no")}
		c, end := finisher(t, f)
		taken := 0
		for range maxUnfinished + 10 {
			if c.Later(Remains{ID: "stuck", Made: true}) {
				taken++
			}
		}
		if taken != maxUnfinished {
			t.Errorf("%d are taken, want %d", taken, maxUnfinished)
		}
		end()
		c.Work.Wait()
		if c.Later(Remains{ID: "stuck", Made: true}) {
			t.Error("taken after the end")
		}
	})
}
