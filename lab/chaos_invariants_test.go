package lab

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// reachSample is of how many containers the network is tried.
	reachSample = 6
	// settleLong is how long settling may take without a word about what it waited for.
	settleLong = 5 * time.Second
)

// settle waits until all agree, with what there is, that nothing is left of what is not, and that networks work.
func (c *chaos) settle(ctx context.Context) error {
	c.api.client.CloseIdleConnections()
	if err := c.thaw(ctx); err != nil {
		return err
	}
	began := time.Now()
	var awaited error // what came last
	err := Until(ctx, settleTime, func() error {
		all, err := c.containers(ctx)
		if err != nil {
			return err
		}
		have := withoutNone(all)
		err = errors.Join(c.calm(have), c.agree(ctx, have), c.bridges(ctx), c.nothingElse(ctx, have))
		if err != nil {
			awaited = err
		}
		return err
	})
	if err != nil {
		return err
	}
	if took := time.Since(began); took > settleLong && awaited != nil {
		c.t.Logf("settling took %s; at last it waited for: %v", took.Round(time.Millisecond), awaited)
	}
	return Until(ctx, cleanTime, func() error { // one that is removed at its end may end just now
		all, err := c.containers(ctx)
		if err != nil {
			return err
		}
		return c.reach(ctx, withoutNone(all))
	})
}

// thaw looks whether the containers that say so are frozen, and lets them go on.
func (c *chaos) thaw(ctx context.Context) error {
	var paused []string
	err := Until(ctx, settleTime, func() error {
		have, err := c.containers(ctx)
		if err != nil {
			return err
		}
		paused = nil
		for _, one := range have {
			if one.State.Status == "paused" {
				paused = append(paused, one.ID)
			}
		}
		rows, err := c.ctr(ctx, "tasks", "ls")
		var frozen []string
		for _, row := range rows {
			if fields := strings.Fields(row); fields[len(fields)-1] == "PAUSED" {
				frozen = append(frozen, fields[0])
			}
		}
		return errors.Join(err, leftover("frozen task", added(paused, frozen)), prefixed("missing: frozen task", added(frozen, paused)))
	})
	for _, id := range paused {
		err = errors.Join(err, c.api.into(ctx, http.MethodPost, "/containers/"+id+"/unpause", nil, nil))
	}
	return err
}

// withoutNone takes away the memberships that the kernel knows nothing of.
func withoutNone(have []inspected) []inspected {
	for _, one := range have {
		delete(one.NetworkSettings.Networks, "none")
	}
	return have
}

// calm wants no container to be on its way from one state to another, or from its end to its removal.
func (c *chaos) calm(have []inspected) error {
	var moving []string
	for _, one := range have {
		if s := one.State.Status; !slices.Contains([]string{"created", "running", "exited"}, s) {
			moving = append(moving, one.Name+" is "+s)
		} else if s == "exited" && one.HostConfig.AutoRemove {
			moving = append(moving, one.Name+" has exited and is not removed")
		}
	}
	return prefixed("not settled", moving)
}

// bridges compares the kernel's bridges with the networks.
func (c *chaos) bridges(ctx context.Context) error {
	var networks []struct{ Name, ID, Driver string }
	if err := c.api.into(ctx, http.MethodGet, "/networks", nil, &networks); err != nil {
		return err
	}
	var want []string
	for _, n := range networks {
		switch {
		case n.Name == "bridge":
			want = append(want, "docker0")
		case n.Driver == "bridge":
			want = append(want, "br-"+n.ID[:12])
		}
	}
	out, err := c.h.Run(ctx, "ip", "-o", "link", "show", "type", "bridge")
	if err != nil {
		return err
	}
	var have []string
	for _, line := range lines(out) {
		have = append(have, strings.TrimSuffix(strings.Fields(line)[1], ":"))
	}
	return errors.Join(leftover("bridge", added(want, have)), prefixed("missing: bridge", added(have, want)))
}

// nothingElse finds what bears the ID of a container that does not run: folders and pipes in /run, mounts, cgroups. Pipes
// and cgroups that a start has made which was cut short may wait for the next start, or for the removal.
func (c *chaos) nothingElse(ctx context.Context, have []inspected) error {
	state := map[string]string{}
	for _, one := range have {
		state[one.ID] = one.State.Status
	}
	dead := func(list []string) (found []string) {
		for _, line := range list {
			id := hexID(line)
			waits := strings.HasPrefix(line, "/run/linkspan/io/") || strings.HasPrefix(line, cgroupRoot)
			if id != "" && state[id] != "running" && !(waits && state[id] != "") {
				found = append(found, fmt.Sprintf("%s (%s)", line, cmp.Or(state[id], "no such container")))
			}
		}
		return found
	}
	inRun, err := c.h.Find(ctx, "/run", "-maxdepth", "7", "(", "-type", "d", "-o", "-type", "p", ")")
	mounts, mountErr := c.h.mounts(ctx)
	cgroups, cgroupErr := c.h.containerCgroups(ctx)
	return errors.Join(err, mountErr, cgroupErr, c.zombies(ctx), c.shimSockets(ctx, have), leftover("in /run", dead(lines(inRun))),
		leftover("mount", dead(mounts)), leftover("cgroup", dead(cgroups)))
}

// shimSockets finds sockets of shims of containers that are not. A shim names its socket after the address of its
// containerd, the namespace and the container.
func (c *chaos) shimSockets(ctx context.Context, have []inspected) error {
	var mayBe []string
	for _, one := range have {
		mayBe = append(mayBe, fmt.Sprintf("%x", sha256.Sum256([]byte("/run/linkspan/containerd/containerd.sock/linkspan/"+one.ID))))
	}
	out, err := c.h.Run(ctx, "sh", "-c", "[ ! -d /run/containerd/s ] || ls /run/containerd/s")
	return errors.Join(err, leftover("socket of a shim", added(mayBe, lines(out))))
}

// reach has some running containers ping their gateways and, by name, another container on each of their networks.
func (c *chaos) reach(ctx context.Context, have []inspected) error {
	live := running(have)
	peers := map[string]string{} // by network
	for _, one := range live {
		for network := range one.NetworkSettings.Networks {
			peers[network] = strings.TrimPrefix(one.Name, "/")
		}
	}
	var all errgroup.Group
	all.SetLimit(4)
	for _, one := range live[:min(reachSample, len(live))] {
		script := []string{"true"}
		for network, e := range one.NetworkSettings.Networks {
			if e.Gateway != "" { // internal networks have none
				script = append(script, "ping -c 1 -W 2 "+e.Gateway)
			}
			if network != "bridge" { // which has no names
				script = append(script, "ping -c 1 -W 2 "+peers[network])
			}
		}
		all.Go(func() error {
			out, err := c.h.Docker(ctx, "exec", one.ID, "sh", "-c", strings.Join(script, " && "))
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", one.Name, err, out)
			}
			return nil
		})
	}
	return all.Wait()
}

// empty removes everything: then the host is clean, and what the daemon and the keeper hold is what they held before.
func (c *chaos) empty(ctx context.Context) error {
	have, err := c.containers(ctx)
	if err != nil {
		return err
	}
	var all errgroup.Group
	all.SetLimit(chaosClients)
	for _, one := range have {
		all.Go(func() error {
			r := c.api.ask(ctx, http.MethodDelete, "/containers/"+one.ID+"?force=1&v=1", nil)
			if r.err == nil && r.status >= http.StatusBadRequest && r.status != http.StatusNotFound {
				r.err = fmt.Errorf("rm -f %s: %d: %s", one.Name, r.status, r.body)
			}
			return r.err
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	if err := c.api.into(ctx, http.MethodPost, "/networks/prune", nil, nil); err != nil {
		return err
	}
	c.api.client.CloseIdleConnections()
	var now held
	err = Until(ctx, settleTime, func() (err error) {
		if now, err = c.holds(ctx); err != nil {
			return err
		}
		if !c.first.known {
			c.first = now
		}
		return errors.Join(c.agree(ctx, nil), c.bridges(ctx), c.nothingElse(ctx, nil), c.h.CheckClean(ctx),
			now.noMoreThan(c.first), c.grown(now))
	})
	c.t.Logf("all removed: %s", now)
	return err
}
