package runtime

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sync/errgroup"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/process"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

const (
	// shimEnds bounds the wait for shims that were told to end.
	shimEnds = 3 * time.Second
	// sweepsAtOnce is for how many containers what is left of a task may be cleared
	// away at the same time.
	sweepsAtOnce = 16
)

// shimSweeps are the pauses before the sweeps that follow the one of Open: what
// containerd was about when the last daemon died may bring forth a shim yet.
func shimSweeps() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 15 * time.Second}
}

// shim is a process of containerd's that holds one container.
type shim struct {
	container model.ContainerID
	process   process.Identity
}

// sweepShims ends the shims that hold nothing. When its client dies while
// containerd makes a task, containerd gives the task up, but its shim, and often
// the shim's bundle, stays for good (containerd's issues 6860 and 7496). A shim
// that is told to end takes its bundle and its socket with it.
//
// Tasks that are just being made are left alone: their shim is there before
// containerd lists them.
func (r *Runtime) sweepShims(ctx context.Context) error {
	shims := findShims(r.client.Namespace, r.client.Address)
	if len(shims) == 0 {
		return nil
	}
	answer, err := r.client.Tasks().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return containerd.Faultf("open", "", "list tasks", err)
	}
	held := make(map[model.ContainerID]bool, len(answer.Tasks))
	for _, t := range answer.Tasks {
		held[model.ContainerID(t.ID)] = true
	}
	var lost []model.ContainerID
	for _, s := range shims {
		if !held[s.container] {
			lost = append(lost, s.container)
		}
	}
	return r.sweepAll(ctx, lost)
}

// sweepAll sweeps for several containers at the same time: it is mostly waiting.
func (r *Runtime) sweepAll(ctx context.Context, ids []model.ContainerID) error {
	var all errgroup.Group
	all.SetLimit(sweepsAtOnce)
	failed := make([]error, len(ids))
	for i, id := range ids {
		all.Go(func() error {
			failed[i] = r.sweep(ctx, id)
			return nil
		})
	}
	return errors.Join(append(failed, all.Wait())...)
}

// sweep clears away what is left of a container's task, unless there is one after
// all, or one is being made.
func (r *Runtime) sweep(ctx context.Context, id model.ContainerID) error {
	release, ok := r.claims.try(id)
	if !ok {
		return nil
	}
	defer release()
	_, err := r.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id)})
	if !containerd.IsNotFound(err) {
		return containerd.Fault("sweep", containerd.Describe(id), err)
	}
	r.log.Info("clearing away what is left of a task", "op", "runtime.sweep", "container", model.Short(id))
	return r.clearRemains(ctx, id)
}

// sweepLater sweeps again and again for a while, and once more so when containerd
// was started again: what it was about when it died has no other end.
func (r *Runtime) sweepLater() {
	life, end := context.WithCancel(context.Background())
	defer end()
	go func() { // a sweep may be waiting for containerd when the runtime is closed
		<-r.done
		end()
	}()
	for pauses := shimSweeps(); ; {
		var next <-chan time.Time
		if len(pauses) > 0 {
			next = time.After(pauses[0])
		}
		select {
		case <-r.done:
			return
		case <-r.client.Restarted():
			pauses = shimSweeps()
			continue
		case <-next:
			pauses = pauses[1:]
		}
		ctx, cancel := r.client.Call(life)
		if err := errors.Join(r.sweepShims(ctx), r.sweepBundles(ctx)); err != nil && ctx.Err() == nil {
			r.log.Warn("shims or bundles not swept", "op", "runtime.sweep", "err", err)
		}
		cancel()
	}
}

// findShims finds the shims that a containerd has started in a namespace of its.
// Processes that end meanwhile are left out.
func findShims(namespace, address string) []shim {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
	var out []shim
	for _, file := range files {
		line, err := readCommand(file)
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
		if who, err := process.Identify(pid); err == nil {
			out = append(out, shim{id, who})
		}
	}
	return out
}

// maxCommand is the longest command line that may be a shim's, in bytes: any
// container's process may have one of megabytes.
const maxCommand = 64 << 10

func readCommand(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	line, err := io.ReadAll(io.LimitReader(f, maxCommand+1))
	if err == nil && len(line) > maxCommand {
		err = errors.New("command line is too long")
	}
	return line, err
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
