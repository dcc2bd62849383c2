package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	cgroupRoot  = "/sys/fs/cgroup"
	cgroupDepth = 6  // how deep below cgroupRoot containers' cgroups are looked for
	idLength    = 64 // hex digits of a container's ID
)

// allCgroups are the cgroups to remove after the host was ended: those of its containers, and those that any of its
// processes has moved to.
func (h *Host) allCgroups(ctx context.Context) ([]string, error) {
	if h.engine == nil {
		return nil, nil
	}
	named, err := h.containerCgroups(ctx)
	if err != nil {
		return nil, err
	}
	entered, err := h.enteredCgroups(ctx)
	all := append(named, entered...)
	slices.Sort(all)
	return slices.Compact(all), err
}

// containerCgroups are the cgroups named after a container that this host's engine knows or knew.
func (h *Host) containerCgroups(ctx context.Context) ([]string, error) {
	ids, err := h.containerIDs(ctx)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	var found []string
	err = filepath.WalkDir(cgroupRoot, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it went away while we looked
		case err != nil:
			return err
		case !entry.IsDir():
			return nil
		case ids[hexID(entry.Name())]:
			found = append(found, path)
		case strings.Count(strings.TrimPrefix(path, cgroupRoot), "/") >= cgroupDepth:
			return fs.SkipDir
		}
		return nil
	})
	return found, err
}

// containerIDs are all IDs that stand in the engine's log or name a folder of its state. There are others among them,
// of images say; a cgroup is named after none of those.
func (h *Host) containerIDs(ctx context.Context) (map[string]bool, error) {
	if h.engine == nil {
		return nil, nil
	}
	folders, err := h.Find(ctx, h.file("data"), "/run", "-maxdepth", "6", "-type", "d")
	if err != nil {
		return nil, err
	}
	ids := make(map[string]bool)
	isHex := func(r rune) bool { return '0' <= r && r <= '9' || 'a' <= r && r <= 'f' }
	for _, word := range strings.FieldsFunc(h.Log()+"\n"+folders, func(r rune) bool { return !isHex(r) }) {
		if len(word) == idLength {
			ids[word] = true
		}
	}
	return ids, nil
}

// hexID is the ID in the name of a cgroup, which is ID itself or like docker-ID.scope; "" if there is none.
func hexID(name string) string {
	run := 0
	for i := range len(name) {
		if !strings.Contains("0123456789abcdef", name[i:i+1]) {
			run = 0
			continue
		}
		if run++; run == idLength {
			return name[i+1-idLength : i+1]
		}
	}
	return ""
}

// enteredCgroups are the cgroups of the host's processes, except those this program itself is in.
func (h *Host) enteredCgroups(ctx context.Context) ([]string, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	theirs, err := h.Run(ctx, "sh", "-c", "cat /proc/[0-9]*/cgroup 2>/dev/null || :") // a process may end meanwhile
	if err != nil {
		return nil, err
	}
	var found []string
	for _, line := range lines(theirs) {
		if path := cgroupPath(line); path != "" && !slices.Contains(lines(string(own)), line) {
			found = append(found, path)
		}
	}
	return found, nil
}

// cgroupPath is the folder that a line of /proc/PID/cgroup speaks of: "4:memory:/a" in a v1 hierarchy, "0::/a" in the
// v2 one, which a hybrid machine mounts a level deeper (cgroups(7)). It is empty for the root of a hierarchy, which stays.
func cgroupPath(line string) string {
	fields := strings.SplitN(line, ":", 3)
	if len(fields) != 3 || fields[2] == "/" {
		return ""
	}
	hierarchy := strings.TrimPrefix(fields[1], "name=")
	if hierarchy == "" {
		if _, err := os.Stat(filepath.Join(cgroupRoot, "unified")); err == nil {
			hierarchy = "unified"
		}
	}
	return filepath.Join(cgroupRoot, hierarchy, fields[2])
}

// removeCgroups removes folders, the deepest first. A cgroup stays busy for a moment after its last process is gone.
func removeCgroups(ctx context.Context, paths []string) error {
	slices.SortFunc(paths, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	var problems []error
	for _, path := range paths {
		err := Until(ctx, 5*time.Second, func() error {
			err := syscall.Rmdir(path)
			if errors.Is(err, syscall.ENOENT) {
				return nil
			}
			return err
		})
		if err != nil {
			problems = append(problems, fmt.Errorf("left over: cgroup %s: %w", path, err))
		}
	}
	return errors.Join(problems...)
}
