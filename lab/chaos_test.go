package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the environment says about the chaos ("make chaos").
const (
	chaosTimeVariable = "LINKSPAN_CHAOS" // how long, as in "10m"
	chaosSeedVariable = "LINKSPAN_SEED"  // a number; empty: another one each time, unless the time is not given either
)

const (
	chaosClients = 10
	chaosShort   = 12 * time.Second // where nothing is said: as part of all tests
	chaosRound   = 6 * time.Second  // how long clients work between two looks at everything
	settleTime   = 45 * time.Second // how long what was begun may take until all agree
	chaosSlack   = 10 * time.Minute // what all rounds together may take longer
	chaosTail    = 60               // so many commands are shown of those before a fault
	strikeWord   = "strike: "       // what the kinds of strikes begin with where they are counted
	// In the last rounds of so many, the daemon and the keeper live: what they lose grows.
	calmEvery, calmFrom = 15, 10
)

// TestChaos has clients ask random things while the daemon, the keeper, containerd and containers are killed at random
// moments. Between the rounds, nobody asks and nobody dies, and then the model, the runtime and the kernel must tell
// the same story, nothing may be left of what was removed, and the daemon and the keeper must hold no more than in the
// beginning: descriptors, goroutines, memory, files.
//
// The seed gives each client its questions and the killer his moments; how they fall together is the machine's affair.
func TestChaos(t *testing.T) {
	engine := needEngine(t)
	lasts, seed := chaosTerms(t)
	ctx, cancel := context.WithTimeout(t.Context(), lasts+chaosSlack)
	defer cancel()
	h := New(t, Options{Engine: engine}).Host(1)
	c := &chaos{
		t: t, seed: seed, api: newAPI(h.Socket()), tally: map[string]int{},
		rig: rig{h: h, linkspan: filepath.Join(filepath.Dir(engine), "linkspan")},
	}
	t.Logf("seed %d, for %s", seed, lasts)
	c.prepareBoth(t)
	if err := c.play(ctx, lasts); err != nil {
		t.Errorf("chaos with seed %d (%s=%d): %v", seed, chaosSeedVariable, seed, err)
		t.Logf("the last commands were\n%s", strings.Join(c.tail, "\n"))
		t.Logf("the engine wrote at last:\n%s", lastLines(h.Log(), 80))
		t.Log(c.scenery(t.Context()))
	}
	t.Log(c.figures())
}

// scenery is what there is at the moment of a fault.
func (c *chaos) scenery(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, crashStep)
	defer cancel()
	list, listErr := c.h.Docker(ctx, "ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}} {{.Status}} {{.Networks}}")
	tasks, tasksErr := c.ctr(ctx, "tasks", "ls")
	state, stateErr := c.h.Run(ctx, "sh", "-c", `"$0" state | grep -E '^ *(sandbox|endpoint) '`, c.linkspan)
	return fmt.Sprintf("containers:\n%s\ntasks:\n%s\nmodel:\n%s\n%v", list, strings.Join(tasks, "\n"), state,
		errors.Join(listErr, tasksErr, stateErr))
}

// prepareBoth prepares, and lets the host be remembered as it is after the first network with IPv6: the engine has
// switched forwarding on for good, and the firewall knows that it was the engine.
func (r *rig) prepareBoth(t *testing.T) {
	t.Helper()
	r.prepare(t)
	ctx, cancel := context.WithTimeout(t.Context(), crashStep)
	defer cancel()
	if err := r.h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	must(t)(r.h.Docker(ctx, "network", "create", "--ipv6", "six"))
	must(t)(r.h.Docker(ctx, "network", "rm", "six"))
	r.h.known = false
	if err := errors.Join(r.h.remember(ctx), r.h.Stop(ctx)); err != nil {
		t.Fatal(err)
	}
}

// chaosTerms reads the environment.
func chaosTerms(t *testing.T) (lasts time.Duration, seed uint64) {
	t.Helper()
	lasts, seed = chaosShort, 1
	var err error
	if text := os.Getenv(chaosTimeVariable); text != "" {
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		seed = uint64(rand.IntN(1_000_000))
	}
	if text := os.Getenv(chaosSeedVariable); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return lasts, seed
}

// chaos is one run of it.
type chaos struct {
	rig
	t    *testing.T
	seed uint64
	api  *api

	outages outages
	first   held // what the daemon and the keeper held at the first quiet moment without containers

	heap, memory process // what the daemon and the keeper that live now had at their first such moment

	mu    sync.Mutex
	tail  []string       // the last commands
	tally map[string]int // answers, by command and status; strikes, by kind
	fault error          // what no client may be told: the first such answer
	stop  func()         // ends the round
}

// play is all rounds. When it returns nil, everything is removed and the host is clean.
func (c *chaos) play(ctx context.Context, lasts time.Duration) error {
	if err := c.h.Start(ctx); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(c.seed, 0))
	end := time.Now().Add(lasts)
	for round := 1; round == 1 || time.Now().Before(end); round++ {
		plan := drawStrikes(random)
		if round%calmEvery >= calmFrom {
			plan = slices.DeleteFunc(plan, strike.hitsUs)
		}
		if err := c.round(ctx, round, plan); err != nil {
			return fmt.Errorf("round %d, %v: %w", round, plan, err)
		}
		began := time.Now()
		if err := c.settle(ctx); err != nil {
			return fmt.Errorf("after round %d, %v: %w", round, plan, err)
		}
		c.t.Logf("round %d: %v; all agree after %s", round, plan, time.Since(began).Round(time.Millisecond))
		// After a round in which neither the daemon nor the keeper died, whatever was not let go of is still held.
		if slices.ContainsFunc(plan, strike.hitsUs) && round%4 != 1 && time.Now().Before(end) {
			continue
		}
		if err := c.empty(ctx); err != nil {
			return fmt.Errorf("all removed after round %d, %v: %w", round, plan, err)
		}
	}
	return c.h.Stop(ctx)
}

// round lets the clients work while strikes fall, and returns when the last client has its answer.
func (c *chaos) round(ctx context.Context, round int, plan []strike) error {
	work, stop := context.WithTimeout(ctx, chaosRound)
	defer stop()
	c.stop = stop
	var clients sync.WaitGroup
	for number := range chaosClients {
		one := &chaosClient{number: number, api: c.api, random: rand.New(rand.NewPCG(c.seed, uint64(round*100+number+1)))}
		clients.Go(func() { c.work(ctx, work.Done(), one) })
	}
	err := c.strikes(ctx, plan, time.Now())
	if err != nil {
		stop()
	}
	clients.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.fault, err)
}

// work is what a client does until it is told to stop: what it has asked by then is still answered.
func (c *chaos) work(ctx context.Context, stop <-chan struct{}, one *chaosClient) {
	commands := chaosCommands()
	for {
		select {
		case <-stop:
			return
		default:
		}
		what := one.pick(commands)
		began := time.Now()
		r := what.ask(one, ctx)
		c.judge(one, what.name, began, r)
		if r.err != nil {
			time.Sleep(20 * time.Millisecond) // there is nobody: do not ask as fast as the machine can
		}
	}
}

// judge keeps an answer in mind and ends the round if it may not be given: failures of the daemon's own are for those
// moments only in which something was killed.
func (c *chaos) judge(one *chaosClient, name string, began time.Time, r reply) {
	now := time.Now()
	fine := r.mayBe(name) || c.outages.touch(began, now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault != nil {
		return // what is told must end with the fault
	}
	c.tally[name+" "+r.outcome()]++
	c.note(fmt.Sprintf("client %d, %s: %s, after %s", one.number, name, r, now.Sub(began).Round(time.Millisecond)))
	if !fine {
		c.fault = errors.New("while nothing was killed: " + c.tail[len(c.tail)-1])
		c.stop()
	}
}

// note adds a line to the tail. The caller has the lock.
func (c *chaos) note(line string) {
	c.tail = append(c.tail, time.Now().Format("05.000 ")+line)
	c.tail = c.tail[max(0, len(c.tail)-chaosTail):]
}

// outcome is a word for a reply.
func (r reply) outcome() string {
	if r.err != nil {
		return "no answer"
	}
	return strconv.Itoa(r.status)
}

func (r reply) String() string {
	switch {
	case r.err != nil:
		return r.err.Error()
	case r.status >= http.StatusBadRequest:
		return fmt.Sprintf("%d %.300s", r.status, strings.TrimSpace(string(r.body)))
	}
	return r.outcome()
}

// oddAnswers are the words of answers with status 400 or 500 that are in order, by command. Docker gives them, too: if a
// container ends by itself just when it is asked for something, if one is not connected to the network that it shall be
// disconnected from, if it has the name already that it shall get, or no network at all and is to be connected.
func oddAnswers() map[string]string {
	const ended = "stopped container|deleted state|container not running"
	return map[string]string{
		"exec":               ended,
		"pause":              ended + "|unable to freeze",
		"unpause":            ended,
		"rename":             "with the same name as its current name",
		"network connect":    `private \(none\) mode`,
		"network disconnect": " is not connected to ",
	}
}

// mayBe tells whether a command may be answered so by a daemon in good health: to somebody who asks for what is not
// there, or not in the right state.
func (r reply) mayBe(name string) bool {
	if r.err != nil || r.status < http.StatusBadRequest {
		return r.err == nil
	}
	words, known := oddAnswers()[name]
	return slices.Contains([]int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict}, r.status) ||
		known && regexp.MustCompile(words).Match(r.body)
}

// figures says how often what was answered.
func (c *chaos) figures() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	answers, strikes := 0, 0
	for name, times := range c.tally {
		if strings.HasPrefix(name, strikeWord) {
			strikes += times
		} else {
			answers += times
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d answers, %d strikes:", answers, strikes)
	for i, name := range slices.Sorted(maps.Keys(c.tally)) {
		separator := "   "
		if i%6 == 0 {
			separator = "\n  "
		}
		fmt.Fprintf(&text, "%s%s: %d", separator, name, c.tally[name])
	}
	return text.String()
}

// outages are the times in which something was dead.
type outages struct {
	mu    sync.Mutex
	began time.Time // of the one that lasts; zero: none does
	last  time.Time // when the last one was over
}

func (o *outages) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.began = time.Now()
}

func (o *outages) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.began, o.last = time.Time{}, time.Now()
}

// touch tells whether an outage fell into the time between two moments, of which the later one is now.
func (o *outages) touch(from, to time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.began.IsZero() && o.began.Before(to) || from.Before(o.last)
}
