// Package usage reads what containers use of the machine: cgroups by way of the runtime,
// interfaces and CPUs from /proc (proc(5)).
//
// It promises bounds on what it reads there, and figures that belong together: those of the
// machine are read right after the container's.
package usage

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/typeurl/v2"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// Reader reads what containers use. Its methods may be called from any goroutine.
type Reader struct {
	client *containerd.Client
	proc   string
}

// New returns a reader that asks a containerd.
func New(client *containerd.Client) *Reader { return &Reader{client, "/proc"} }

// Usage returns what a container has used until now, and by its first process the network
// it is in. NotFound if it does not run.
func (r *Reader) Usage(ctx context.Context, id model.ContainerID, pid int) (model.Usage, error) {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	answer, err := r.client.Tasks().Metrics(ctx, &tasks.MetricsRequest{Filters: []string{"id==" + string(id)}})
	if err != nil {
		return model.Usage{}, containerd.Fault("stats", containerd.Describe(id), err)
	}
	if len(answer.Metrics) == 0 {
		return model.Usage{}, model.Errorf(model.NotFound, "%s does not run", containerd.Describe(id))
	}
	counted, err := typeurl.UnmarshalAny(answer.Metrics[0].Data)
	if err != nil {
		return model.Usage{}, fmt.Errorf("read the cgroup's counters of %s: %w", containerd.Describe(id), err)
	}
	out, err := fromCgroup(counted)
	if err != nil {
		return out, err
	}
	out.At = answer.Metrics[0].Timestamp.AsTime()
	return out, r.fromProc(&out, pid)
}

// fromProc adds what /proc tells of the machine and of a process's network.
func (r *Reader) fromProc(to *model.Usage, pid int) error {
	var failed, gone error
	to.CPU.System, to.CPU.Online, failed = readCPUs(filepath.Join(r.proc, "stat"))
	to.Networks, gone = readInterfaces(filepath.Join(r.proc, strconv.Itoa(pid), "net", "dev"))
	if gone != nil {
		gone = model.Errorf(model.NotFound, "the process has ended: %w", gone)
	}
	memory, err := readMemory(filepath.Join(r.proc, "meminfo"))
	// Without a limit the kernel says a number that no machine has.
	if err == nil && to.Memory.Limit > memory {
		to.Memory.Limit = memory
	}
	return errors.Join(failed, gone, err)
}
