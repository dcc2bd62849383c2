package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// containers are all that there can be, with few restarts.
func containers(each func(Container)) {
	flags := []bool{false, true}
	for _, policy := range []Policy{{}, {Name: Never}, {Name: Always}, {Name: UnlessStopped}, {Name: OnFailure}, {Name: OnFailure, Max: 2}} {
		for i := range 1 << 7 {
			bit := func(n int) bool { return flags[i>>n&1] }
			for restarts := range 3 {
				for retries := range 2 {
					each(Container{Running: bit(0), Paused: bit(1), Restarting: bit(2), Started: bit(3), Failed: bit(4), Stopped: bit(5),
						AutoRemove: bit(6), Restarts: restarts, Retries: retries, Policy: policy})
				}
			}
		}
	}
}

// events are all that can happen.
func events(each func(Event)) {
	flags := []bool{false, true}
	for _, what := range []What{StartAsked, RestartDue, Launched, LaunchFailed, Ended, StopAsked, Found, Restored} {
		for i := range 1 << 6 {
			bit := func(n int) bool { return flags[i>>n&1] }
			e := Event{What: what, Unseen: bit(0), Process: bit(1), Unasked: bit(2), Ending: bit(3), Returning: bit(4), Gone: bit(5)}
			for _, code := range []int{0, 1} {
				e.Code = code
				for _, task := range []model.TaskState{"", model.TaskNone, model.TaskCreated, model.TaskRunning, model.TaskPaused, model.TaskStopped, model.TaskUnknown} {
					e.Task = task
					each(e)
				}
			}
		}
	}
}

// TestEveryTransition: what must hold of any container, whatever happens to it.
func TestEveryTransition(t *testing.T) {
	containers(func(c Container) {
		events(func(e Event) {
			after, do := Next(c, e)
			if complaint := wrong(c, e, after, do); complaint != "" && !t.Failed() {
				t.Errorf("%s: %+v, %+v: %+v, %+v", complaint, c, e, after, do)
			}
		})
	})
}

// wrong says what a transition does that none may do; empty if it is right.
func wrong(c Container, e Event, after Container, do Action) string {
	restarts := c.Policy.Name == Always || c.Policy.Name == UnlessStopped || c.Policy.Name == OnFailure
	end := e.What == Ended || e.What == LaunchFailed
	switch {
	case after.Policy != c.Policy, after.AutoRemove != c.AutoRemove:
		return "what the user asked for is another"
	case do.Restart && do.Remove:
		return "removed and started again"
	case do.Restart && !(after.Restarting && after.Running):
		return "a restart that nobody can see"
	case end && after.Restarting != do.Restart:
		return "it waits for a restart that does not come"
	case do.Restart && !restarts && !(e.What == Restored && c.Restarting):
		return "started again without a policy"
	case do.Restart && e.What == LaunchFailed && e.Gone:
		return "it waits for what was removed"
	case do.Restart && end && c.Stopped:
		return "started again though the user stopped it"
	case do.Restart && e.Ending && e.What == Ended:
		return "started again by a daemon that ends"
	case do.Restart && e.What == Ended && c.Policy.Name == OnFailure && e.Code == 0:
		return "a success started again"
	case c.Policy.Max > 0 && after.Restarts > max(c.Restarts, c.Policy.Max), c.Policy.Max > 0 && after.Retries > max(c.Retries, c.Policy.Max):
		return "more restarts than the policy allows"
	case do.Restart && end && !do.KeepAddresses:
		return "others may have the addresses of what comes back"
	case do.Remove && !c.AutoRemove:
		return "removed without being asked"
	case do.Do == Launch && e.What != StartAsked && e.What != RestartDue:
		return "started by what is no start"
	case do.Do == Launch && c.Running && !c.Restarting:
		return "started though it runs"
	case do.Do == Launch && e.What == RestartDue && !c.Restarting:
		return "started though nobody waits for it"
	case e.What == StopAsked && !e.Process && after.Restarting:
		return "a stop leaves it waiting for a restart"
	case e.What == StopAsked && do.Do != RefuseStopped && !e.Unasked && !after.Stopped:
		return "the user's stop is not noted"
	case after.Stopped && !c.Stopped && (e.What != StopAsked || e.Unasked):
		return "stopped by nobody"
	case (do.Do == RefusePaused || do.Do == RefuseRunning || do.Do == RefuseStopped) && after != c:
		return "a refusal changes something"
	case e.What == Found && after != c:
		return "looking changes something"
	}
	return ""
}

// TestTransitions: what is to be done, case by case.
func TestTransitions(t *testing.T) {
	always, stopped := Policy{Name: Always}, Policy{Name: UnlessStopped}
	runs := Container{Running: true, Started: true}
	waits := Container{Running: true, Restarting: true, Started: true, Policy: always}
	for _, c := range []struct {
		name  string
		c     Container
		e     Event
		after Container
		do    Action
	}{
		{"the first start", Container{Stopped: true, Restarts: 3}, Event{What: StartAsked}, Container{}, Action{Do: Launch}},
		{"start of what runs", runs, Event{What: StartAsked}, runs, Action{Do: RefuseRunning}},
		{"start of what failed and waits", Container{Running: true, Restarting: true, Failed: true}, Event{What: StartAsked},
			Container{Running: true, Restarting: true, Failed: true}, Action{Do: RefuseRunning, Hurry: true}},
		{"start of what is paused", Container{Running: true, Paused: true}, Event{What: StartAsked}, Container{Running: true, Paused: true}, Action{Do: RefusePaused}},
		{"it runs", Container{Restarting: true, Running: true, Failed: true, Retries: 2}, Event{What: Launched}, runs, Action{Do: Watch}},
		{"a start that failed", Container{Policy: always}, Event{What: LaunchFailed}, Container{Failed: true, Policy: always}, Action{Do: Down}},
		{"a restart that failed", waits, Event{What: LaunchFailed},
			Container{Running: true, Restarting: true, Started: true, Failed: true, Retries: 1, Policy: always}, Action{Do: Down, KeepAddresses: true, Restart: true}},
		{"the last retry failed", Container{Restarting: true, Restarts: 1, Retries: 1, Policy: Policy{OnFailure, 2}}, Event{What: LaunchFailed},
			Container{Failed: true, Restarts: 1, Retries: 1, Policy: Policy{OnFailure, 2}}, Action{Do: Down}},
		{"what a restart needs is gone", waits, Event{What: LaunchFailed, Gone: true}, Container{Started: true, Failed: true, Policy: always}, Action{Do: Down}},
		{"what a start needs is gone", Container{Policy: always}, Event{What: LaunchFailed, Gone: true}, Container{Failed: true, Policy: always}, Action{Do: Down}},
		{"a start of --rm failed", Container{AutoRemove: true}, Event{What: LaunchFailed}, Container{Failed: true, AutoRemove: true}, Action{Do: Down, Remove: true}},
		{"an end", runs, Event{What: Ended}, Container{Started: true}, Action{Do: Down}},
		{"an end of --rm", Container{Running: true, AutoRemove: true}, Event{What: Ended}, Container{Started: true, AutoRemove: true}, Action{Do: Down, Remove: true}},
		{"an end with a policy", Container{Running: true, Policy: always}, Event{What: Ended},
			Container{Running: true, Restarting: true, Started: true, Restarts: 1, Policy: always}, Action{Do: Down, KeepAddresses: true, Restart: true}},
		{"an end that nobody saw", Container{Running: true, Policy: always, Restarts: 7}, Event{What: Ended, Unseen: true},
			Container{Running: true, Restarting: true, Started: true, Policy: always}, Action{Do: Down, KeepAddresses: true, Restart: true}},
		{"an end with the daemon", Container{Running: true, Policy: always}, Event{What: Ended, Ending: true}, Container{Started: true, Policy: always}, Action{Do: Down, KeepAddresses: true}},
		{"an end in a restart", Container{Running: true, Stopped: true, Policy: always}, Event{What: Ended, Returning: true},
			Container{Started: true, Stopped: true, Policy: always}, Action{Do: Down, KeepAddresses: true}},
		{"stop", runs, Event{What: StopAsked, Process: true}, Container{Running: true, Started: true, Stopped: true}, Action{Do: Signal}},
		{"stop by the daemon", runs, Event{What: StopAsked, Process: true, Unasked: true}, runs, Action{Do: Signal}},
		{"stop of what waits", waits, Event{What: StopAsked}, Container{Started: true, Stopped: true, Policy: always}, Action{Do: Down}},
		{"stop of what does not run", Container{}, Event{What: StopAsked}, Container{}, Action{Do: RefuseStopped}},
		{"due", waits, Event{What: RestartDue}, waits, Action{Do: Launch}},
		{"due too late", waits, Event{What: RestartDue, Ending: true}, waits, Action{}},
		{"found alive", runs, Event{What: Found, Task: model.TaskRunning}, runs, Action{Do: Adopt}},
		{"found ended", runs, Event{What: Found, Task: model.TaskStopped}, runs, Action{Do: RecordEnd}},
		{"found gone", runs, Event{What: Found, Task: model.TaskNone}, runs, Action{Do: RecordUnseenEnd}},
		{"found half made", Container{}, Event{What: Found, Task: model.TaskCreated}, Container{}, Action{Do: DiscardUnstarted}},
		{"found waiting", waits, Event{What: Found, Task: model.TaskNone}, waits, Action{Do: Down, KeepAddresses: true}},
		{"found with another run's end", Container{Started: true, Policy: stopped}, Event{What: Found, Task: model.TaskStopped},
			Container{Started: true, Policy: stopped}, Action{Do: DiscardEnded, KeepAddresses: true}},
		{"unless stopped", Container{Started: true, Policy: stopped}, Event{What: Restored}, Container{Running: true, Restarting: true, Started: true, Policy: stopped}, Action{Restart: true}},
		{"and it was", Container{Started: true, Stopped: true, Policy: stopped}, Event{What: Restored}, Container{Started: true, Stopped: true, Policy: stopped}, Action{}},
		{"always, though stopped", Container{Started: true, Stopped: true, Policy: always}, Event{What: Restored},
			Container{Running: true, Restarting: true, Started: true, Stopped: true, Policy: always}, Action{Restart: true}},
		{"never started", Container{Policy: always}, Event{What: Restored}, Container{Policy: always}, Action{}},
		{"--rm that ended meanwhile", Container{Started: true, AutoRemove: true}, Event{What: Restored}, Container{Started: true, AutoRemove: true}, Action{Remove: true}},
	} {
		if after, do := Next(c.c, c.e); after != c.after || do != c.do {
			t.Errorf("%s: %+v, %+v; want %+v, %+v", c.name, after, do, c.after, c.do)
		}
	}
}

// TestRandomLives leads containers through lives as a daemon would, with crashes, and
// checks that record and process never tell two stories.
func TestRandomLives(t *testing.T) {
	for seed := range uint64(2000) {
		w := walk{Rand: rand.New(rand.NewPCG(seed, 1)), t: t}
		policies := []Policy{{}, {Name: Always}, {Name: UnlessStopped}, {Name: OnFailure}, {Name: OnFailure, Max: 2}}
		w.c.Policy = policies[w.IntN(len(policies))]
		w.c.AutoRemove = w.c.Policy.Name == "" && w.IntN(2) == 0
		for range 60 {
			if !w.removed {
				w.step()
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d: %v", seed, w.story)
		}
	}
}

// walk is one life.
type walk struct {
	*rand.Rand
	t       *testing.T
	c       Container
	process bool
	waits   bool // somebody starts it again after a pause
	removed bool
	story   []string
}

func (w *walk) step() {
	switch w.IntN(7) {
	case 0:
		w.happens(Event{What: StartAsked})
	case 1:
		w.happens(Event{What: StopAsked, Process: w.process})
	case 2:
		if w.process {
			w.process = false
			w.happens(Event{What: Ended, Code: w.IntN(2)})
		}
	case 3, 4:
		if w.waits {
			w.waits = false
			w.happens(Event{What: RestartDue})
		}
	case 5:
		w.crash(w.process && w.IntN(3) > 0)
	case 6:
		w.crash(false) // the machine
	}
	switch {
	case w.removed:
	case w.c.Restarting && (!w.c.Running || w.process):
		w.t.Errorf("it waits for a restart and runs, or neither: %+v", w.c)
	case w.process != (w.c.Running && !w.c.Restarting):
		w.t.Errorf("process %t, record %+v", w.process, w.c)
	case w.waits != w.c.Restarting:
		w.t.Errorf("somebody waits %t, record %+v", w.waits, w.c)
	case w.c.Policy.Max > 0 && w.c.Restarts+w.c.Retries > w.c.Policy.Max:
		w.t.Errorf("%d restarts and %d retries: %+v", w.c.Restarts, w.c.Retries, w.c)
	}
}

// crash is the end of the daemon, and the start of another. survives says whether the
// process does.
func (w *walk) crash(survives bool) {
	task := model.TaskNone
	switch {
	case survives:
		task = model.TaskRunning
	case w.process && w.IntN(2) == 0:
		task = model.TaskStopped
	}
	w.process, w.waits = survives, false
	w.happens(Event{What: Found, Task: task})
	if !w.process && !w.removed {
		w.happens(Event{What: Restored})
	}
}

// happens does what follows from an event, as the daemon does.
func (w *walk) happens(e Event) {
	var do Action
	w.c, do = Next(w.c, e)
	w.story = append(w.story, fmt.Sprintf("%d%v->%d", e.What, e.Task, do.Do))
	switch do.Do {
	case Launch:
		if w.process {
			w.t.Error("a second process")
		}
		if w.process = w.IntN(3) > 0; w.process {
			w.happens(Event{What: Launched})
		} else {
			w.happens(Event{What: LaunchFailed})
		}
	case Signal:
		if w.process = false; w.IntN(4) > 0 {
			w.happens(Event{What: Ended, Code: 137})
			return
		}
		w.process = true // it takes its time
	case RecordEnd:
		w.recorded(Event{What: Ended, Code: 1})
	case RecordUnseenEnd:
		w.recorded(Event{What: Ended, Unseen: true, Code: 255})
	case Down:
		if e.What == StopAsked {
			w.waits = false
		}
	}
	w.waits = w.waits || do.Restart
	w.removed = w.removed || do.Remove
}

// recorded notes an end that a daemon finds: restarts and removals wait for Restored.
func (w *walk) recorded(e Event) { w.c, _ = Next(w.c, e) }
