package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Who may be killed. The names of programs are as /proc/PID/comm has them.
const (
	theDaemon     = "linkspand"
	theKeeper     = "linkspan-keeper"
	theContainerd = "containerd"
	aContainer    = "container"
	aRestart      = "restart" // the daemon, by SIGTERM
	aStumble      = "stumble" // the daemon, and then once more while it starts
)

// backTime is how long what was killed may take to be back: containerd is started again after ten seconds at most.
const backTime = 30 * time.Second

// strike is who is killed when.
type strike struct {
	at    time.Duration // since the round began
	whom  []string
	pause time.Duration // how long the daemon stays away, or runs before it stumbles
	which int           // of the containers
}

func (s strike) String() string {
	return fmt.Sprintf("%s at %s", strings.Join(s.whom, "+"), s.at.Round(time.Millisecond))
}

// hitsUs tells whether the daemon or the keeper is killed, or has no descriptors.
func (s strike) hitsUs() bool {
	return slices.ContainsFunc(s.whom, func(whom string) bool {
		return !slices.Contains([]string{theContainerd, aContainer, aFlush, aName, aRival, aForger}, whom)
	})
}

// drawStrikes draws those of one round; in every fourth or so nobody dies.
func drawStrikes(random *rand.Rand) []strike {
	kinds := [][]string{
		{theDaemon}, {theDaemon}, {theDaemon}, {theKeeper}, {theKeeper}, {theContainerd}, {aContainer}, {aContainer},
		{aRestart}, {aStumble}, {aFlush}, {aName}, {aDearth}, {aThirst}, {aRival}, {aForger}, {theDaemon, theKeeper}, {theDaemon, theContainerd}, {theDaemon, theKeeper, theContainerd},
	}
	plan := make([]strike, random.IntN(4))
	for i := range plan {
		plan[i] = strike{
			at:    time.Duration(random.Int64N(int64(chaosRound * 3 / 4))),
			whom:  kinds[random.IntN(len(kinds))],
			pause: []time.Duration{0, 0, time.Second}[random.IntN(3)] + time.Duration(random.IntN(300))*time.Millisecond,
			which: random.IntN(chaosContainers),
		}
	}
	slices.SortFunc(plan, func(a, b strike) int { return int(a.at - b.at) })
	return plan
}

// strikes kills as planned and returns when everything is back.
func (c *chaos) strikes(ctx context.Context, plan []strike, began time.Time) error {
	for _, s := range plan {
		time.Sleep(time.Until(began.Add(s.at))) // nothing is waited for: this is the moment that the seed has chosen
		c.outages.begin()
		err := c.strike(ctx, s)
		c.outages.end()
		if err != nil {
			return fmt.Errorf("%v: %w", s, err)
		}
		c.mu.Lock()
		c.tally[strikeWord+strings.Join(s.whom, "+")]++
		c.note("back again: " + s.String())
		c.mu.Unlock()
	}
	return nil
}

// strike kills, has the daemon started again if it was hit, and waits until all are back.
func (c *chaos) strike(ctx context.Context, s strike) error {
	if slices.Contains(s.whom, aContainer) {
		return c.killContainer(ctx, s.which)
	}
	before, err := c.companions(ctx)
	if err != nil {
		return err
	}
	if err := c.kill(ctx, s); err != nil {
		return err
	}
	if !c.h.running() {
		if s.whom[0] != aStumble {
			time.Sleep(s.pause) // as chosen, too
		}
		if err := c.h.Start(ctx); err != nil {
			return err
		}
	}
	return Until(ctx, backTime, func() error { return c.back(ctx, before, s) })
}

// kill ends who is to be hit, the others before the daemon, which would notice.
func (c *chaos) kill(ctx context.Context, s strike) error {
	for _, whom := range slices.Backward(s.whom) {
		var err error
		switch whom {
		case theKeeper:
			err = c.killAll(ctx, c.keepers)
		case theContainerd:
			err = c.killAll(ctx, c.containerd)
		case theDaemon:
			err = c.h.Kill(ctx)
		case aRestart:
			err = c.h.Stop(ctx)
		case aStumble:
			err = c.stumble(ctx, s.pause)
		default:
			err = c.foul(ctx, s, whom)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// killAll ends the processes that are found. One that has ended meanwhile is no fault.
func (c *chaos) killAll(ctx context.Context, find func(context.Context) ([]string, error)) error {
	pids, err := find(ctx)
	if err != nil || len(pids) == 0 {
		return err
	}
	_, err = c.h.Run(ctx, append([]string{"sh", "-c", `kill -KILL "$@" 2>/dev/null || :`, "sh"}, pids...)...)
	return err
}

// stumble kills the daemon twice, the second time while it starts.
func (c *chaos) stumble(ctx context.Context, pause time.Duration) error {
	if err := c.h.Kill(ctx); err != nil {
		return err
	}
	if err := c.h.launch(nil); err != nil {
		return err
	}
	err := Until(ctx, startTime, func() error {
		pid, err := os.ReadFile(c.h.file("engine.pid"))
		if err == nil && len(pid) == 0 {
			err = fmt.Errorf("the engine has not begun")
		}
		return err
	})
	if err != nil {
		return err
	}
	time.Sleep(pause / 4) // the moment that the seed has chosen
	return c.h.Kill(ctx)
}

// keepers are the keeper's processes: one, or none where there is no keeper.
func (r *rig) keepers(ctx context.Context) ([]string, error) { return r.processes(ctx, theKeeper) }

// containerd is the process of the engine's own containerd.
func (r *rig) containerd(ctx context.Context) ([]string, error) {
	return r.processes(ctx, theContainerd)
}

// companions are the processes that live beside the daemon, by name.
func (r *rig) companions(ctx context.Context) (map[string][]string, error) {
	keepers, err := r.keepers(ctx)
	if err != nil {
		return nil, err
	}
	containerd, err := r.containerd(ctx)
	return map[string][]string{theKeeper: keepers, theContainerd: containerd}, err
}

// processes are those of the host with the name of a program, as the host counts; none is no error. The child of one
// that bears its name is about to become something else.
func (r *rig) processes(ctx context.Context, name string) (pids []string, err error) {
	out, err := r.h.Run(ctx, "sh", "-c", `ps -C "$0" -o pid=,ppid= || [ $? = 1 ]`, name)
	parents := map[string]string{}
	for _, line := range lines(out) {
		if fields := strings.Fields(line); len(fields) == 2 {
			parents[fields[0]] = fields[1]
		}
	}
	for pid, parent := range parents {
		if _, same := parents[parent]; !same {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, err
}

// killContainer ends the process of a container, if there is a running one.
func (c *chaos) killContainer(ctx context.Context, which int) error {
	return c.killAll(ctx, func(ctx context.Context) ([]string, error) {
		rows, err := c.ctr(ctx, "tasks", "ls")
		if err != nil || len(rows) < 2 {
			return nil, err
		}
		fields := strings.Fields(rows[1+which%(len(rows)-1)])
		if len(fields) != 3 || fields[1] == "0" {
			return nil, nil
		}
		if _, err := strconv.Atoi(fields[1]); err != nil {
			return nil, fmt.Errorf("ctr says %q: %w", fields, err)
		}
		return fields[1:2], nil
	})
}

// back tells whether everything runs that ran before, and answers.
func (c *chaos) back(ctx context.Context, before map[string][]string, s strike) error {
	now, err := c.companions(ctx)
	if err != nil {
		return err
	}
	for name, pids := range now {
		switch old := before[name]; {
		case len(pids) != len(old):
			return fmt.Errorf("%d processes %s are there, %d were", len(pids), name, len(old))
		case len(pids) > 0 && slices.Contains(s.whom, name) && slices.Equal(pids, old):
			return fmt.Errorf("%s is still process %s, which was killed", name, pids)
		}
	}
	// The daemon has a connection of its own to containerd, which it takes up again in its own time.
	return c.api.into(ctx, http.MethodGet, "/images/json", nil, nil)
}
