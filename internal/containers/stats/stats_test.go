package stats

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/model"
)

// one is a container, and what counts its use: more with every look.
type one struct {
	rec   containerrecord.Record
	gone  bool
	looks int
	err   error
}

func (o *one) Record() containerrecord.Record { return o.rec }
func (o *one) Gone() bool                     { return o.gone }
func (o *one) find(ref string) (Container, error) {
	if ref != "one" {
		return nil, model.Errorf(model.NotFound, "No such container: %s", ref)
	}
	return o, nil
}

func (o *one) Usage(_ context.Context, _ model.ContainerID, pid int) (model.Usage, error) {
	o.looks++
	n := uint64(o.looks)
	return model.Usage{At: time.Unix(int64(n), 0), CPU: model.CPUUsage{Total: n, System: 10 * n, Online: 2}, Memory: model.MemoryUsage{Usage: n},
		Networks: map[string]model.NetworkUsage{"eth0": {RxBytes: n}}, Pids: model.PidsUsage{Current: uint64(pid)}}, o.err
}

func running(mode container.NetworkMode) *one {
	o := &one{rec: containerrecord.Record{ID: "c1", Name: "one", Host: &container.HostConfig{NetworkMode: mode}}}
	o.rec.State.Running, o.rec.State.Pid = true, 7
	return o
}

// read collects answers until there are n or reading ends.
func read(t *testing.T, o *one, how Options, n int) []container.StatsResponse {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := New(o, o.find)
	s.interval = time.Millisecond
	var out []container.StatsResponse
	err := s.Read(ctx, "one", how, func(r container.StatsResponse) error {
		if out = append(out, r); len(out) == n {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return out
}

func TestOnce(t *testing.T) {
	got := read(t, running("bridge"), Options{}, 5)
	if len(got) != 1 || got[0].CPUStats.CPUUsage.TotalUsage != 2 || got[0].PreCPUStats.CPUUsage.TotalUsage != 1 || !got[0].PreRead.Equal(time.Unix(1, 0)) ||
		got[0].Networks["eth0"].RxBytes != 2 || got[0].Name != "/one" || got[0].ID != "c1" || got[0].OSType != "linux" || got[0].PidsStats.Current != 7 {
		t.Errorf("with something to compare with: %+v", got)
	}
	got = read(t, running("bridge"), Options{OneShot: true}, 5)
	if len(got) != 1 || got[0].CPUStats.CPUUsage.TotalUsage != 1 || got[0].CPUStats.SystemUsage != 10 || !got[0].PreRead.IsZero() {
		t.Errorf("one shot: %+v", got)
	}
	if got = read(t, running("host"), Options{OneShot: true}, 5); got[0].Networks != nil {
		t.Errorf("the host's interfaces: %+v", got[0].Networks)
	}
}

func TestStream(t *testing.T) {
	got := read(t, running("bridge"), Options{Stream: true}, 3)
	if len(got) != 3 || !got[0].PreRead.IsZero() || got[2].PreCPUStats.CPUUsage.TotalUsage != 2 || got[2].CPUStats.CPUUsage.TotalUsage != 3 {
		t.Errorf("%+v", got)
	}
	o := running("bridge")
	o.gone = true
	if got := read(t, o, Options{Stream: true}, 5); len(got) != 1 {
		t.Errorf("of a container that was removed: %d", len(got))
	}
}

func TestWhatDoesNotRun(t *testing.T) {
	o := running("bridge")
	o.rec.State.Running = false
	for _, how := range []Options{{}, {OneShot: true}, {Stream: true}} {
		if got := read(t, o, how, 1); len(got) != 1 || got[0].ID != "c1" || !got[0].Read.IsZero() || o.looks != 0 {
			t.Errorf("%+v: %+v", how, got)
		}
	}
	o = running("bridge")
	o.err = model.Errorf(model.NotFound, "it has ended")
	if got := read(t, o, Options{OneShot: true}, 1); len(got) != 1 || got[0].MemoryStats.Usage != 0 {
		t.Errorf("one that has just ended: %+v", got)
	}
	o.err = errors.New("disk on fire")
	s := New(o, o.find)
	if err := s.Read(t.Context(), "one", Options{OneShot: true}, nil); !errors.Is(err, o.err) {
		t.Error(err)
	}
	if err := s.Read(t.Context(), "two", Options{}, nil); model.KindOf(err) != model.NotFound {
		t.Error(err)
	}
}
