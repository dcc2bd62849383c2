package containerd

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/linkspan/linkspan/internal/process"
)

const (
	// watchInterval is how often the child is asked whether it is well.
	watchInterval = 2 * time.Second
	// watchTimeout is how long it may take to answer, as with Docker.
	watchTimeout = 3 * time.Second
	// watchMissed is how many answers in a row may be late before it counts as
	// hung.
	watchMissed = 3
)

// killHung ends a containerd that lives and does not answer, so that supervise
// starts it again: else all who wait for it wait for ever. Containers do not
// notice. It returns when the process has ended, or supervision has.
func (c *child) killHung(proc *process.Process) {
	conn, err := grpc.NewClient("unix://"+c.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.log.Error("containerd is not watched", "op", "containerd.watch", "err", err)
		return
	}
	defer conn.Close() //nolint:errcheck // nothing is under way
	health := grpc_health_v1.NewHealthClient(conn)
	for missed := 0; missed < watchMissed; {
		if c.isLate(proc, health) {
			missed++
			continue
		}
		missed = 0
		select {
		case <-c.quit:
			return
		case <-proc.Done():
			return
		case <-time.After(watchInterval):
		}
	}
	select {
	case <-c.quit:
		return
	case <-proc.Done():
		return
	default:
	}
	c.log.Error(fmt.Sprintf("containerd (process %d) has not answered for %s, ending it", proc.ID.Pid, watchMissed*c.patience),
		"op", "containerd.watch")
	proc.Signal(unix.SIGKILL)
}

// isLate tells whether an answer was waited for in vain. A refusal is an answer:
// one that is starting, or is about to be seen dead, refuses.
func (c *child) isLate(proc *process.Process, health grpc_health_v1.HealthClient) bool {
	ctx, cancel := context.WithTimeout(context.Background(), c.patience)
	defer cancel()
	asked := make(chan bool, 1)
	go func() {
		_, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		asked <- status.Code(err) == codes.DeadlineExceeded
	}()
	select {
	case late := <-asked:
		return late
	case <-c.quit:
	case <-proc.Done():
	}
	return false
}
