package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

// cgroupTries is how often a cgroup is tried to remove whose processes were killed:
// they are in it until the kernel has done away with them.
const cgroupTries = 50

// removeCgroups removes what a start that was cut short has left of a container's
// cgroups (cgroups(7)): one, or with cgroup v1 one for each controller.
func (st *staleTasks) removeCgroups(ctx context.Context, s *specs.Spec) error {
	if s == nil || s.Linux == nil || len(s.Linux.CgroupsPath) < 2 {
		return nil
	}
	all := []string{filepath.Join(ocispec.CgroupRoot, s.Linux.CgroupsPath)}
	if !st.cgroup2 {
		controllers, err := os.ReadDir(ocispec.CgroupRoot)
		if err != nil {
			return fmt.Errorf("list cgroup controllers: %w", err)
		}
		all = nil
		for _, c := range controllers {
			if c.IsDir() { // the others are links to these
				all = append(all, filepath.Join(ocispec.CgroupRoot, c.Name(), s.Linux.CgroupsPath))
			}
		}
	}
	var failed []error
	for _, path := range all {
		failed = append(failed, removeCgroup(ctx, path))
	}
	return errors.Join(failed...)
}

// removeCgroup kills what is in a cgroup and in those below, and removes them.
func removeCgroup(ctx context.Context, path string) error {
	for try := 1; ; try++ {
		err := removeEmpty(path)
		if err == nil || try == cgroupTries || !errors.Is(err, unix.EBUSY) {
			return err
		}
		if err := killIn(path); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// removeEmpty removes a cgroup and those below, the innermost first: only rmdir(2)
// removes one, its files go by themselves. One that is gone is success.
func removeEmpty(path string) error {
	below, err := cgroupsIn(path)
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(below) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
	}
	return nil
}

// cgroupsIn returns a cgroup and those below, the outermost first.
func cgroupsIn(path string) (out []string, err error) {
	err = filepath.WalkDir(path, func(dir string, entry fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			out = append(out, dir)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list cgroups: %w", err)
	}
	return out, nil
}

// killIn kills the processes in a cgroup and in those below.
func killIn(path string) error {
	all, err := cgroupsIn(path)
	if err != nil {
		return err
	}
	for _, dir := range all {
		raw, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue // it has gone
		}
		for word := range strings.FieldsSeq(string(raw)) {
			if pid, err := strconv.Atoi(word); err == nil && pid > 1 {
				unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // it has ended
			}
		}
	}
	return nil
}
