package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

// freezer stops and continues a whole cgroup: the freezer of cgroup v1 (kernel
// Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst), or cgroup.freeze of v2.
type freezer struct {
	request, state      string // files: what is asked for, and how it is
	freeze, thaw        string // what is written to request
	isFrozen, isRunning string // lines of state
}

func freezerOf(cgroup2 bool, s *specs.Spec) (freezer, error) {
	if s == nil || s.Linux == nil || len(s.Linux.CgroupsPath) < 2 {
		return freezer{}, errors.New("no cgroup is known of the container")
	}
	if cgroup2 {
		dir := filepath.Join(ocispec.CgroupRoot, s.Linux.CgroupsPath)
		return freezer{filepath.Join(dir, "cgroup.freeze"), filepath.Join(dir, "cgroup.events"), "1", "0", "frozen 1", "frozen 0"}, nil
	}
	file := filepath.Join(ocispec.CgroupRoot, "freezer", s.Linux.CgroupsPath, "freezer.state")
	return freezer{file, file, "FROZEN", "THAWED", "FROZEN", "THAWED"}, nil
}

// is tells whether the cgroup is frozen, or with false whether it runs; while it
// changes it is neither.
func (f freezer) is(frozen bool) (bool, error) {
	raw, err := os.ReadFile(f.state)
	if err != nil {
		return false, fmt.Errorf("read the state of a cgroup: %w", err)
	}
	line := f.isRunning
	if frozen {
		line = f.isFrozen
	}
	return strings.Contains("\n"+string(raw)+"\n", "\n"+line+"\n"), nil
}

// set freezes or thaws the cgroup and waits until it is so.
func (f freezer) set(ctx context.Context, frozen bool) error {
	word := f.thaw
	if frozen {
		word = f.freeze
	}
	if err := os.WriteFile(f.request, []byte(word), 0); err != nil {
		return fmt.Errorf("change the state of a cgroup: %w", err)
	}
	for {
		if so, err := f.is(frozen); so || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
}

// finishFreeze completes a pause, or with frozen false a resume, that failed with err,
// by asking for it again.
//
// If containerd dies amid one, the shim kills the runc that it runs, perhaps after the
// deed: then the processes are frozen, the shim takes them for running, and refuses
// for ever to resume them, as runc refuses to pause what is frozen (and the other way
// round). The deed is therefore undone, for the moment until it is done again.
func (t *Tasks) finishFreeze(ctx context.Context, id model.ContainerID, frozen bool, err error, again func() error) error {
	told, done := tasktypes.Status_RUNNING, tasktypes.Status_PAUSED
	if !frozen {
		told, done = done, told
	}
	p, unknown := t.processes.known(ctx, id)
	switch {
	case unknown != nil:
		return err
	case p.Status == done: // the answer was lost, and the request repeated
		return nil
	case p.Status != told:
		return err
	}
	_, spec, unknown := t.processes.specs.load(ctx, id)
	if unknown != nil {
		return err
	}
	f, unknown := freezerOf(t.processes.cgroup2, spec)
	if unknown != nil {
		return err
	}
	if so, unknown := f.is(frozen); unknown != nil || !so {
		return err
	}
	t.log.Warn("containerd died amid a pause or a resume: it is done once more", "container", model.Short(id), "op", "runtime.freeze", "err", err)
	if err := f.set(ctx, !frozen); err != nil {
		return err
	}
	return again()
}
