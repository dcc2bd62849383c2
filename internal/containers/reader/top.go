package reader

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
func (rd *Reader) Top(ctx context.Context, ref string, args []string) (container.TopResponse, error) {
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	format, err := ps.Parse(args)
	if err != nil {
		return container.TopResponse{}, err
	}
	b, err := rd.o.Containers.Find(ref)
	if err != nil {
		return container.TopResponse{}, err
	}
	if b.Ended() == nil {
		return container.TopResponse{}, b.NotRunning()
	}
	pids, err := rd.o.Control.Pids(ctx, b.ID())
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
	b.Say(events.ActionTop)
	return out, nil
}
