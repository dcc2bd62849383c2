package runtime

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// shimEnds bounds the wait for shims that were told to end.
const shimEnds = 3 * time.Second

// shimSweeps are the pauses before the sweeps that follow the one of Open: what
// containerd was about when the last daemon died may bring forth a shim yet.
func shimSweeps() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 15 * time.Second}
}

// shim is a process of containerd's that holds one container.
type shim struct {
	container model.ContainerID
	process   identity
}

// sweepShims ends the shims that hold nothing. When its client dies while
// containerd makes a task, containerd gives the task up, but its shim, and often
// the shim's bundle, stays for good (containerd's issues 6860 and 7496). A shim
// that is told to end takes its bundle and its socket with it.
//
// Tasks that this daemon has begun itself are left alone: their shim is there
// before containerd lists them.
func (r *Runtime) sweepShims(ctx context.Context, address string) error {
	shims := findShims(r.opts.Namespace, address)
	if len(shims) == 0 {
		return nil
	}
	answer, err := r.tasks().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return faultf("open", "", "list tasks", err)
	}
	held := make(map[model.ContainerID]bool, len(answer.Tasks))
	for _, t := range answer.Tasks {
		held[model.ContainerID(t.ID)] = true
	}
	var ending []*process
	for _, s := range shims {
		if held[s.container] || r.hasBegun(s.container) {
			continue
		}
		p, err := follow(s.process)
		if err != nil {
			continue // it has just ended
		}
		r.log.Info("ending a shim without a task", "op", "runtime.sweep", "container", model.Short(s.container))
		p.signal(unix.SIGTERM)
		ending = append(ending, p)
	}
	limit := time.NewTimer(shimEnds)
	defer limit.Stop()
	for _, p := range ending {
		select {
		case <-p.done:
		case <-limit.C:
			return nil // a later sweep tries again
		}
	}
	return nil
}

// sweepShimsLater sweeps again and again for a while.
func (r *Runtime) sweepShimsLater(address string) {
	for _, pause := range shimSweeps() {
		select {
		case <-r.done:
			return
		case <-time.After(pause):
		}
		ctx, cancel := r.call(context.Background())
		if err := errors.Join(r.sweepShims(ctx, address), r.sweepBundles(ctx)); err != nil {
			r.log.Warn("shims or bundles not swept", "op", "runtime.sweep", "err", err)
		}
		cancel()
	}
}

// begin notes that this daemon makes a task.
func (r *Runtime) begin(id model.ContainerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own[id] = true
}

func (r *Runtime) hasBegun(id model.ContainerID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.own[id]
}

// findShims finds the shims that a containerd has started in a namespace of its.
// Processes that end meanwhile are left out.
func findShims(namespace, address string) []shim {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
	var out []shim
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		id, ok := parseShim(line, namespace, address)
		if !ok {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		if process, err := identify(pid); err == nil {
			out = append(out, shim{id, process})
		}
	}
	return out
}

// parseShim reads a command line as proc_pid_cmdline(5) shows it, and returns
// the container if it is that of a shim that serves: a verb at its end makes it
// a passing helper.
func parseShim(line []byte, namespace, address string) (id model.ContainerID, ok bool) {
	words := strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00")
	if !strings.HasPrefix(filepath.Base(words[0]), "containerd-shim") || len(words)%2 == 0 {
		return "", false
	}
	flags := map[string]string{}
	for i := 1; i+1 < len(words); i += 2 {
		flags[words[i]] = words[i+1]
	}
	if flags["-namespace"] != namespace || flags["-address"] != address {
		return "", false
	}
	id = model.ContainerID(flags["-id"])
	return id, id != ""
}
