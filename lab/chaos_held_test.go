package lab

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const (
	// spareDescriptors and spareGoroutines are what the daemon may hold more than in the beginning: connections that
	// a library keeps ready, a timer that has not run out.
	spareDescriptors = 8
	spareGoroutines  = 12
	// spareHeap is by how many bytes the daemon's live heap may grow from one moment without containers to another of
	// the same process, spareMemory that for all memory of the keeper, garbage included.
	spareHeap   = 4 << 20
	spareMemory = 16 << 20
	// stateLimit is how large the state's file may be, in bytes: it does not shrink, and its free pages are used again.
	stateLimit = 4 << 20
)

// held is what can leak.
type held struct {
	known                bool
	goroutines           int // of the daemon
	descriptors, keepers int // of the daemon, of the keeper
	heap, memory         process
	state                int      // size of the state's file, in bytes
	files                []string // in /run and in the data root
	profile              string
}

// process is how much memory one process has, in bytes.
type process struct {
	pid   string
	bytes int
}

// holds measures that.
func (c *chaos) holds(ctx context.Context) (h held, err error) {
	h.known = true
	var errs [7]error
	h.descriptors, errs[0] = c.descriptors(ctx, theDaemon)
	h.keepers, errs[1] = c.descriptors(ctx, theKeeper)
	h.goroutines, h.profile, errs[2] = c.profiled(ctx, "goroutine?debug=1", `^goroutine profile: total (\d+)`)
	h.heap.bytes, _, errs[3] = c.profiled(ctx, "heap?gc=1&debug=1", `(?m)^# HeapAlloc = (\d+)`)
	h.heap.pid, errs[4] = c.h.Run(ctx, "pgrep", "-o", "-x", theDaemon)
	h.memory, errs[5] = c.keeperMemory(ctx)
	h.state, h.files, errs[6] = c.kept(ctx)
	return h, errors.Join(errs[:]...)
}

// profiled asks the daemon for a profile and reads a number in it.
func (c *chaos) profiled(ctx context.Context, which, pattern string) (n int, profile string, err error) {
	profile, err = c.h.Run(ctx, "curl", "-sS", "--max-time", "10", "--unix-socket", "/run/linkspan/private.sock",
		"http://engine/debug/pprof/"+which)
	if err != nil {
		return 0, "", err
	}
	match := regexp.MustCompile(pattern).FindStringSubmatch(profile)
	if match == nil {
		return 0, "", fmt.Errorf("the profile %s begins with %.80q", which, profile)
	}
	n, err = strconv.Atoi(match[1])
	return n, profile, err
}

// keeperMemory is what the keeper has of memory that no file stands behind (proc_pid_status(5)).
func (c *chaos) keeperMemory(ctx context.Context) (p process, err error) {
	pids, err := c.keepers(ctx)
	if err != nil || len(pids) != 1 {
		return p, errors.Join(err, fmt.Errorf("the keeper is processes %v", pids))
	}
	out, err := c.h.Run(ctx, "sed", "-n", "s/^RssAnon:[^0-9]*\\([0-9]*\\) kB$/\\1/p", "/proc/"+pids[0]+"/status")
	if err != nil {
		return p, err
	}
	kilobytes, err := strconv.Atoi(strings.TrimSpace(out))
	return process{pids[0], kilobytes << 10}, err
}

// kept is the size of the state's file, and all folders, sockets and files that there are but the images.
func (c *chaos) kept(ctx context.Context) (size int, files []string, err error) {
	out, err := c.h.Run(ctx, "stat", "-c", "%s", c.h.file("data/state.db"))
	if err != nil {
		return 0, nil, err
	}
	if size, err = strconv.Atoi(strings.TrimSpace(out)); err != nil {
		return 0, nil, err
	}
	data := c.h.file("data")
	for _, where := range [][]string{
		{"/run/linkspan", "/run/containerd", "/run/netns"},
		{data, "-path", data + "/containerd", "-prune", "-o", "-print"},
		{data + "/containerd/root/io.containerd.runtime.v2.task"},
	} {
		if out, err = c.h.Find(ctx, where...); err != nil {
			return 0, nil, err
		}
		files = append(files, lines(out)...)
	}
	return size, files, nil
}

// descriptors counts the open files of all processes of a program.
func (r *rig) descriptors(ctx context.Context, name string) (int, error) {
	out, err := r.h.Run(ctx, "sh", "-c", `for pid in $(pgrep -x "$0"); do ls /proc/$pid/fd; done | wc -l`, name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// zombies finds processes that have ended and that nobody has waited for.
func (r *rig) zombies(ctx context.Context) error {
	out, err := r.h.Run(ctx, "sh", "-c", `ps -e -o stat=,pid=,ppid=,comm= | grep ^Z || :`)
	return errors.Join(err, leftover("zombie", lines(out)))
}

func (h held) String() string {
	return fmt.Sprintf("the daemon holds %d descriptors, %d goroutines and %d KB, the keeper %d descriptors and %d KB; the state has %d KB, %d files",
		h.descriptors, h.goroutines, h.heap.bytes>>10, h.keepers, h.memory.bytes>>10, h.state>>10, len(h.files))
}

// noMoreThan compares what is held with what was held before.
func (h held) noMoreThan(before held) error {
	err := leftover("file", added(before.files, h.files))
	if h.state > stateLimit {
		err = errors.Join(err, fmt.Errorf("the state's file has %d bytes", h.state))
	}
	if h.descriptors > before.descriptors+spareDescriptors || h.keepers > before.keepers+spareDescriptors ||
		h.goroutines > before.goroutines+spareGoroutines {
		err = errors.Join(err, fmt.Errorf("in the beginning %s; now %s\n%.6000s", before, h, h.profile))
	}
	return err
}

// grown compares the memory of the processes with what they had at the first moment without containers.
func (c *chaos) grown(now held) error {
	var errs []error
	for _, one := range []struct {
		name  string
		now   process
		first *process
		spare int
	}{{theDaemon, now.heap, &c.heap, spareHeap}, {theKeeper, now.memory, &c.memory, spareMemory}} {
		if one.now.pid != one.first.pid {
			*one.first = one.now
		} else if one.now.bytes > one.first.bytes+one.spare {
			errs = append(errs, fmt.Errorf("%s has %d KB of memory, %d KB in the beginning", one.name, one.now.bytes>>10, one.first.bytes>>10))
		}
	}
	return errors.Join(errs...)
}
