package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crashVariable set to "full" plays every crash ("make crash"). Otherwise a few are played, enough for every stage.
const crashVariable = "LINKSPAN_CRASH"

const (
	crashSeeds   = 30 // kills from outside, of all crashes
	crashFew     = 4  // of them, in a short run; the last one takes containerd along
	crashJobs    = 50 // containers that are run, of which every second is removed
	crashClients = 8  // of them at a time
	crashStep    = time.Minute
)

// crash is one end of the engine in the middle of its work.
type crash struct {
	name      string
	failpoint string        // "stage:N": the engine ends itself there; empty: it is killed from outside
	after     int           // kill it when so many client commands have been answered
	delay     time.Duration // and then so much later
	both      bool          // kill its containerd at the same time
}

// TestCrash kills the engine while containers come and go, starts it again, and looks whether the model, the runtime
// and the kernel tell the same story: that of what was answered to clients.
func TestCrash(t *testing.T) {
	engine := needEngine(t)
	h := New(t, Options{Engine: engine}).Host(1)
	r := &rig{h: h, linkspan: filepath.Join(filepath.Dir(engine), "linkspan")}
	r.prepare(t)
	for _, c := range crashes(os.Getenv(crashVariable) == "full") {
		// each begins where the one before has tidied up, so the first to fail is the last
		if !t.Run(c.name, func(t *testing.T) { r.play(t, c) }) {
			break
		}
	}
}

// crashes lists the moments. The number at a failpoint is how often the stage is reached before: a start of the engine
// and the making of two networks take about five turns, fifty containers that come and go at least forty.
func crashes(all bool) []crash {
	stages := []string{"claim", "commit", "nft", "namespaces", "publish", "answer"}
	seeds := crashFew
	if all {
		stages = append(stages, "links", "addresses", "routes", "removals", "apply")
		seeds = crashSeeds
	}
	var out []crash
	for i, stage := range stages {
		random := rand.New(rand.NewPCG(uint64(i), 1))
		out = append(out, crash{name: stage, failpoint: fmt.Sprintf("%s:%d", stage, 15+random.IntN(25))})
	}
	for seed := 1; seed <= seeds; seed++ {
		random := rand.New(rand.NewPCG(uint64(seed), 0))
		out = append(out, crash{
			name:  fmt.Sprintf("seed%02d", seed),
			after: random.IntN(crashJobs * 3 / 2),
			delay: time.Duration(random.IntN(200)) * time.Millisecond,
			both:  seed%4 == 0,
		})
	}
	return out
}

// rig is the host that all crashes happen on.
type rig struct {
	h        *Host
	linkspan string // the command
}

// prepare loads the image and lets the host be remembered as it is without containers.
func (r *rig) prepare(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), crashStep)
	defer cancel()
	if err := r.h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.h.Load(ctx, "busybox"), r.h.Stop(ctx)); err != nil {
		t.Fatal(err)
	}
}

// play is one crash, from a clean host to a clean host.
func (r *rig) play(t *testing.T, c crash) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*crashStep)
	defer cancel()
	begun := len(r.h.Log())
	defer func() {
		if t.Failed() {
			t.Logf("the engine wrote at last:\n%s", lastLines(r.h.Log()[begun:], 60))
		}
	}()
	do := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if c.failpoint != "" {
		r.h.Env = []string{"LINKSPAND_FAILPOINT=" + c.failpoint}
	}
	do("start", r.h.Start(ctx))
	r.h.Env = nil
	for _, network := range crashNetworks {
		_, err := r.h.Docker(ctx, "network", "create", network)
		do("before the crash", err)
	}
	w := newWorkload(r.h)
	do("while containers came and went", r.crash(ctx, c, w))
	answers := w.answers.Load()
	began := time.Now()
	do("start again", r.h.Start(ctx))
	t.Logf("ended after %d answers; answers again after %s", answers, time.Since(began).Round(time.Millisecond))

	have, err := r.containers(ctx)
	do("look at the containers", err)
	do("what was answered holds", w.check(have))
	do("all agree", Until(ctx, cleanTime, func() error { return r.agree(ctx, have) }))
	do("networks work", r.reachEachOther(ctx, have))
	do("everything can be removed", r.tidy(ctx, have))
	do("stop", r.h.Stop(ctx))
}

// crash lets clients work until the engine has ended as c says, and waits for all of them.
func (r *rig) crash(ctx context.Context, c crash, w *workload) error {
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		w.run(ctx)
	}()
	err := r.strike(ctx, c, w, idle)
	w.stop.Store(true)
	<-idle
	return errors.Join(err, w.complaints())
}

// strike ends the engine, or waits until it has ended itself.
func (r *rig) strike(ctx context.Context, c crash, w *workload, idle <-chan struct{}) error {
	if c.failpoint != "" {
		select {
		case <-r.h.engine.ended:
			return nil
		case <-idle:
			return fmt.Errorf("failpoint %s was not reached in %d answers", c.failpoint, w.answers.Load())
		}
	}
	err := Until(ctx, crashStep, func() error {
		if have := w.answers.Load(); have < int64(c.after) {
			return fmt.Errorf("%d answers of %d", have, c.after)
		}
		return nil
	})
	if err != nil {
		return err
	}
	time.Sleep(c.delay) // nothing is waited for: this is the moment that the seed has chosen
	if !c.both {
		return r.h.Kill(ctx)
	}
	_, err = r.h.Run(ctx, "sh", "-c", `kill -KILL $(cat "$0") $(cut -d " " -f 1 /run/linkspan/containerd/containerd.pid)`, r.h.file("engine.pid"))
	if err != nil {
		return err
	}
	select {
	case <-r.h.engine.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tidy removes all containers and networks, and finds what is left of them.
func (r *rig) tidy(ctx context.Context, have []inspected) error {
	if len(have) > 0 {
		args := []string{"rm", "-f"}
		for _, c := range have {
			args = append(args, c.ID)
		}
		if _, err := r.h.Docker(ctx, args...); err != nil {
			return err
		}
	}
	if _, err := r.h.Docker(ctx, append([]string{"network", "rm"}, crashNetworks...)...); err != nil {
		return err
	}
	return Until(ctx, 3*cleanTime, func() error {
		return errors.Join(r.h.CheckClean(ctx), r.agree(ctx, nil))
	})
}

// crashNetworks are what the containers of a workload are on.
var crashNetworks = []string{"odd", "even"}

// outcome is how far a client's command has come.
type outcome int

const (
	notAsked outcome = iota
	notAnswered
	answered
)

// job is the life of one container: it is run, some are connected to the other network, every second is removed.
type job struct {
	name, network, other string
	connects, removes    bool
	run, connect, remove outcome
}

// workload is clients at work.
type workload struct {
	h       *Host
	jobs    []*job
	answers atomic.Int64
	stop    atomic.Bool // the engine has gone: begin nothing more

	mu  sync.Mutex
	bad []error
}

func newWorkload(h *Host) *workload {
	w := &workload{h: h}
	for i := range crashJobs {
		w.jobs = append(w.jobs, &job{
			name: fmt.Sprintf("c%02d", i), network: crashNetworks[i%2], other: crashNetworks[(i+1)%2],
			connects: i%5 == 0, removes: i/2%2 == 0,
		})
	}
	return w
}

// run plays all jobs, several at a time, and returns when no client is left.
func (w *workload) run(ctx context.Context) {
	queue := make(chan *job)
	var clients sync.WaitGroup
	for range crashClients {
		clients.Go(func() {
			for j := range queue {
				w.live(ctx, j)
			}
		})
	}
	for _, j := range w.jobs {
		queue <- j
	}
	close(queue)
	clients.Wait()
}

func (w *workload) live(ctx context.Context, j *job) {
	w.ask(ctx, &j.run, "run", "-d", "--name", j.name, "--network", j.network, "busybox", "sleep", "1000")
	if j.connects && j.run == answered {
		w.ask(ctx, &j.connect, "network", "connect", j.other, j.name)
	}
	if j.removes && j.run == answered {
		w.ask(ctx, &j.remove, "rm", "-f", j.name)
	}
}

// ask runs a client's command. Only the end of the engine may keep it from succeeding.
func (w *workload) ask(ctx context.Context, o *outcome, args ...string) {
	if w.stop.Load() {
		return
	}
	*o = notAnswered
	_, err := w.h.Docker(ctx, args...)
	switch {
	case err == nil:
		*o = answered
		w.answers.Add(1)
	case !brokenOff(err):
		w.mu.Lock()
		defer w.mu.Unlock()
		w.bad = append(w.bad, err)
	}
}

// brokenOff tells whether a command failed because nobody was there to answer it.
func brokenOff(err error) bool {
	for _, words := range []string{"Cannot connect to the Docker daemon", "failed to connect to the docker API", "EOF", "connection reset", "broken pipe"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}

func (w *workload) complaints() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.bad...)
}

// check compares what clients were told with what there is after the crash.
func (w *workload) check(have []inspected) error {
	byName := map[string]inspected{}
	for _, c := range have {
		byName[strings.TrimPrefix(c.Name, "/")] = c
	}
	var wrong []error
	for _, j := range w.jobs {
		c, there := byName[j.name]
		delete(byName, j.name)
		if err := j.check(c, there); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", j.name, err))
		}
	}
	for name := range byName {
		wrong = append(wrong, fmt.Errorf("%s: nobody asked for it", name))
	}
	return errors.Join(wrong...)
}

// check holds one container against what its clients asked and were told. Whose client was cut off in the middle of
// run may never have run, or may have ended with its start; whose client was cut off in the removal may have ended.
func (j *job) check(c inspected, there bool) error {
	state := c.State.Status
	switch {
	case j.run == notAsked && there:
		return errors.New("nobody asked for it")
	case j.remove == answered && there:
		return fmt.Errorf("was removed and is %s", state)
	case j.run == answered && j.remove == notAsked && state != "running":
		return fmt.Errorf("was run and is %q", state)
	case !there:
		return nil
	case state == "created" && j.run == answered:
		return errors.New("was run and is only created")
	case state != "running" && state != "created" && state != "exited":
		return fmt.Errorf("is %s", state)
	}
	_, connected := c.NetworkSettings.Networks[j.other]
	if _, ok := c.NetworkSettings.Networks[j.network]; !ok {
		return errors.New("has lost its network")
	}
	if j.connect == answered && !connected || j.connect == notAsked && connected {
		return fmt.Errorf("connected to the other network: %t", connected)
	}
	return nil
}
