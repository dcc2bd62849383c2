package containers

import (
	"context"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containers/procfs"
	"github.com/linkspan/linkspan/internal/containers/ps"
)

// Top lists a container's processes as ps does with args, read from /proc: nothing is
// executed for it. Without args it is `ps -ef`. Errors: those of ps.Parse, and Conflict
// if the container does not run.
func (rd *reader) Top(ctx context.Context, ref string, args []string) (container.TopResponse, error) {
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	format, err := ps.Parse(args)
	if err != nil {
		return container.TopResponse{}, err
	}
	b, err := rd.find(ref)
	if err != nil {
		return container.TopResponse{}, err
	}
	if b.current() == nil {
		return container.TopResponse{}, notRunning(b.id)
	}
	pids, err := rd.control.Pids(ctx, b.id)
	if err != nil {
		return container.TopResponse{}, err
	}
	slices.Sort(pids)
	t := procfs.Open()
	host, err := t.Host()
	if err != nil {
		return container.TopResponse{}, err
	}
	out := container.TopResponse{Titles: format.Titles(), Processes: [][]string{}}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		if p, err := t.Process(pid); err == nil { // else it has just ended
			out.Processes = append(out.Processes, format.Row(p, host))
		}
	}
	rd.say(b, events.ActionTop)
	return out, nil
}
