package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// restartVariable set to "full" restarts with many containers, too, and holds the times against their budgets
// ("make restart"). Otherwise times are only printed: a machine that runs all tests is no measure.
const restartVariable = "LINKSPAN_RESTART"

// quietTime is longer than the kernel keeps news of a link to itself.
const quietTime = 1500 * time.Millisecond

// restartSize is how many containers there are, and how soon the engine must be ready then.
type restartSize struct {
	containers int
	budget     time.Duration
}

// TestRestart ends the engine, politely and not, and starts it again: it answers at once, it lists what runs with the
// processes of before, names resolve, and it writes nothing to the kernel.
func TestRestart(t *testing.T) {
	engine := needEngine(t)
	full := os.Getenv(restartVariable) == "full"
	sizes := []restartSize{{0, 500 * time.Millisecond}, {10, time.Second}}
	if full {
		sizes = append(sizes, restartSize{300, 3 * time.Second})
	}
	h := New(t, Options{Engine: engine}).Host(1)
	r := &restarter{rig: rig{h: h, linkspan: filepath.Join(filepath.Dir(engine), "linkspan")}, api: newAPI(h.Socket())}
	r.prepare(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*crashStep)
	defer cancel()
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	must(t)(h.Docker(ctx, "network", "create", "office"))
	for _, size := range sizes {
		if err := r.grow(ctx, size.containers); err != nil {
			t.Fatal(err)
		}
		for name, end := range map[string]func(context.Context) error{"SIGTERM": h.Stop, "SIGKILL": h.Kill} {
			took, err := r.restart(ctx, end)
			if err != nil {
				t.Fatalf("%d containers, %s: %v\nthe engine wrote at last:\n%s", size.containers, name, err, lastLines(h.Log(), 20))
			}
			t.Logf("%3d containers, %s: ready after %s (budget %s)", size.containers, name, took.Round(time.Millisecond), size.budget)
			if full && took > size.budget {
				t.Errorf("%d containers, %s: ready after %s, not within %s", size.containers, name, took, size.budget)
			}
		}
	}
	if err := r.shrink(ctx); err != nil {
		t.Fatal(err)
	}
}

// restarter is a host on which the engine is restarted.
type restarter struct {
	rig
	api   *api
	names []string
}

// grow runs containers until there are so many.
func (r *restarter) grow(ctx context.Context, to int) error {
	var all errgroup.Group
	all.SetLimit(crashClients)
	for len(r.names) < to {
		name := fmt.Sprintf("c%03d", len(r.names))
		r.names = append(r.names, name)
		all.Go(func() error {
			request := createRequest{Image: "busybox", Cmd: sleeps, HostConfig: hostRequest{NetworkMode: "office"}}
			return errors.Join(
				r.api.into(ctx, http.MethodPost, "/containers/create?name="+name, request, nil),
				r.api.into(ctx, http.MethodPost, "/containers/"+name+"/start", nil, nil))
		})
	}
	return all.Wait()
}

// shrink removes all of them, and finds what is left.
func (r *restarter) shrink(ctx context.Context) error {
	var all errgroup.Group
	all.SetLimit(crashClients)
	for _, name := range r.names {
		all.Go(func() error { return r.api.into(ctx, http.MethodDelete, "/containers/"+name+"?force=1", nil, nil) })
	}
	err := all.Wait()
	if _, rm := r.h.Docker(ctx, "network", "rm", "office"); err == nil {
		err = rm
	}
	return errors.Join(err, Until(ctx, 3*cleanTime, func() error { return errors.Join(r.h.CheckClean(ctx), r.agree(ctx, nil)) }))
}

// restart ends the engine, starts it, and returns how long it took until that was ready: until it listed all
// containers as running.
func (r *restarter) restart(ctx context.Context, end func(context.Context) error) (took time.Duration, err error) {
	before, err := r.firstProcesses(ctx)
	if err != nil {
		return 0, err
	}
	if err := Until(ctx, cleanTime, func() error { return r.noDrift(ctx) }); err != nil {
		return 0, err
	}
	handles, err := r.handles(ctx)
	if err != nil {
		return 0, err
	}
	watched, err := r.watchKernel(ctx)
	if err != nil {
		return 0, err
	}
	if err := end(ctx); err != nil {
		return 0, errors.Join(err, watched.end())
	}
	began := time.Now()
	if err := r.h.Start(ctx); err != nil {
		return 0, errors.Join(err, watched.end())
	}
	if err := r.lists(ctx, len(r.names)); err != nil {
		return 0, errors.Join(err, watched.end())
	}
	took = time.Since(began)
	if err := watched.end(); err != nil {
		return took, err
	}
	after, err := r.firstProcesses(ctx)
	if err == nil && !maps.Equal(before, after) {
		err = fmt.Errorf("the processes were %v and are %v", before, after)
	}
	now, handlesErr := r.handles(ctx)
	if handlesErr == nil && now != handles {
		handlesErr = fmt.Errorf("firewall rules were written anew:\n%s", strings.Join(added(lines(handles), lines(now)), "\n"))
	}
	return took, errors.Join(err, handlesErr, r.noDrift(ctx), r.resolves(ctx))
}

// lists wants so many containers to be running, at the first time of asking.
func (r *restarter) lists(ctx context.Context, want int) error {
	var list []struct{ State string }
	if err := r.api.into(ctx, http.MethodGet, "/containers/json", nil, &list); err != nil {
		return err
	}
	live := slices.DeleteFunc(list, func(one struct{ State string }) bool { return one.State != "running" })
	if len(live) != want {
		return fmt.Errorf("%d of %d containers are listed as running", len(live), want)
	}
	return nil
}

// firstProcesses maps containers to their process.
func (r *restarter) firstProcesses(ctx context.Context) (map[string]int, error) {
	have, err := r.containers(ctx)
	pids := map[string]int{}
	for _, c := range running(have) {
		pids[c.Name] = c.State.Pid
	}
	return pids, err
}

// handles is the firewall of the host and of one container with its handles, which a rule that is written anew gets
// anew.
func (r *restarter) handles(ctx context.Context) (string, error) {
	return r.h.Run(ctx, "sh", "-ec", `nft --stateless --handle list ruleset
		for one in $(ls /run/netns | head -n 1); do nsenter --net=/run/netns/$one nft --stateless --handle list ruleset; done`)
}

// resolves has the first container find the last one by name, and the other way round.
func (r *restarter) resolves(ctx context.Context) error {
	if len(r.names) == 0 {
		return nil
	}
	first, last := r.names[0], r.names[len(r.names)-1]
	_, there := r.h.Docker(ctx, "exec", first, "ping", "-c", "1", "-W", "2", last)
	_, back := r.h.Docker(ctx, "exec", last, "ping", "-c", "1", "-W", "2", first)
	return errors.Join(there, back)
}

// watch is two programs that print what changes in the kernel.
type watch struct {
	stop func()
	done errgroup.Group

	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer for both.
func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

// watchKernel begins to watch the host's links, addresses, routes and firewall, and those of its containers as far as
// the kernel tells (ip-monitor(8) all-nsid), once nothing happens any more of what was done before.
func (r *restarter) watchKernel(ctx context.Context) (*watch, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &watch{stop: stop}
	for _, args := range [][]string{{"ip", "monitor", "all-nsid", "link", "address", "route", "rule"}, {"nft", "monitor"}} {
		cmd := r.h.Command(ctx, args...)
		cmd.Stdout = w
		if err := cmd.Start(); err != nil {
			stop()
			return nil, errors.Join(err, w.done.Wait())
		}
		w.done.Go(func() error {
			if err := cmd.Wait(); ctx.Err() == nil {
				return fmt.Errorf("%s: ended: %w", strings.Join(args, " "), err)
			}
			return nil
		})
	}
	err := Until(ctx, cleanTime, func() error { return r.listening(ctx) })
	if err == nil {
		err = Until(ctx, 6*cleanTime, w.quiet)
	}
	if err != nil {
		stop()
		return nil, errors.Join(err, w.done.Wait())
	}
	return w, nil
}

// listening wants both to be subscribed: /proc/net/netlink shows the groups of every netlink socket (netlink(7)).
func (r *restarter) listening(ctx context.Context) error {
	out, err := r.h.Run(ctx, "sh", "-c", `for name in ip nft; do
		for pid in $(pgrep -x $name); do awk -v pid=$pid '$3 == pid && $4 != "00000000" { print pid }' /proc/net/netlink; done
	done`)
	if err == nil && len(lines(out)) < 2 {
		err = fmt.Errorf("the monitors do not listen yet: %q", out)
	}
	return err
}

// quiet wants the kernel to have said nothing for a while, and forgets what it said before: it tells of links that come
// up about a second later.
func (w *watch) quiet() error {
	w.take()
	time.Sleep(quietTime) // nothing is waited for: it is the absence that counts
	return prefixed("the kernel is not quiet", w.take())
}

// take returns the changes, and forgets them. Addresses that the kernel gives links by itself are none.
func (w *watch) take() (changes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range lines(w.text.String()) {
		if !strings.Contains(line, "fe80::") && !strings.Contains(line, "valid_lft") {
			changes = append(changes, line)
		}
	}
	w.text.Reset()
	return changes
}

// end ends the watch; what was changed is an error.
func (w *watch) end() error {
	w.stop()
	return errors.Join(w.done.Wait(), prefixed("written to the kernel", w.take()))
}
