// Package lifecycle decides what becomes of a container: whether it is started, started
// again, taken over, recorded as ended, or removed.
//
// Next is the one transition function. Start, exit, restart policy, stop and the
// daemon's start all ask it, each with what has happened, so that none of them has a
// rule of its own. It is pure: what it says is done elsewhere.
//
//	created ─ StartAsked ─▶ Launch ─ Launched ─▶ running ─ Ended ─▶ exited, or restarting
//	                          ╰─ LaunchFailed ─▶ created, exited, or restarting
//	restarting ─ RestartDue ─▶ Launch                        restarting ─ StopAsked ─▶ exited
//	record and task ─ Found ─▶ Adopt, RecordEnd, ... ─ Restored ─▶ restarting, removed, or as it is
package lifecycle

import "github.com/linkspan/linkspan/internal/model"

// Policy is a restart policy. The zero value restarts nothing.
type Policy struct {
	Name PolicyName
	// Max is how many restarts "on-failure" may make; 0 is any number.
	Max int
}

// PolicyName is the name of a restart policy, as users write it.
type PolicyName string

// Restart policies. Any other name is Never.
const (
	Never         PolicyName = "no"
	Always        PolicyName = "always"
	OnFailure     PolicyName = "on-failure"
	UnlessStopped PolicyName = "unless-stopped"
)

// Container is how far a container has come and what its user asked for.
type Container struct {
	Running    bool // recorded so; also while it waits for a restart
	Paused     bool
	Restarting bool // ended, and to be started again
	Started    bool // it ran once at least
	Failed     bool // the last start failed
	Stopped    bool // by the user, since the last start that was asked for
	Restarts   int  // runs that followed, by the policy, on one that ended
	Retries    int  // starts that followed, by the policy, on one that failed
	Policy     Policy
	AutoRemove bool
}

// What has happened.
type What int

// Events. Those about a process carry further fields of Event.
const (
	StartAsked   What = iota // by the user
	RestartDue               // the pause before an automatic restart is over
	Launched                 // the process runs
	LaunchFailed             // there is none: Gone
	Ended                    // the process: Code, Unseen
	StopAsked                // there is a process or not: Process; by the user or not: Unasked
	Found                    // by a daemon that starts: Task
	Restored                 // all containers have been brought up to date by that daemon
)

// Event is what has happened to a container.
type Event struct {
	What    What
	Code    int             // of an end
	Unseen  bool            // of an end: with the machine or the runtime
	Process bool            // of a stop: there is one
	Unasked bool            // of a stop: by the daemon
	Gone    bool            // of a start that failed: somebody has removed what it needs
	Task    model.TaskState // that the runtime has; a live one that never ran is TaskCreated
	// Ending says that the daemon lets go of its containers or stops them: none is
	// started again.
	Ending bool
	// Returning says that the user asked for a restart: it ends only to run again.
	Returning bool
}

// Do is what to do next.
type Do int

// What to do with process and network.
const (
	Nothing          Do = iota
	Launch              // bring network and process up
	Watch               // record that it runs, and wait for its end
	Down                // take the network down; KeepAddresses says how
	Signal              // end the process
	Adopt               // take the live process over
	RecordEnd           // record the end that the runtime knows, as Ended
	RecordUnseenEnd     // record an end that nobody saw, as Ended
	DiscardEnded        // remove the ended process that was recorded already, then Down
	DiscardUnstarted    // remove the process that never ran, then Down
	RefusePaused        // it is paused
	RefuseRunning       // it runs, or is about to
	RefuseStopped       // it does not run
)

// Action is what follows from an event.
type Action struct {
	Do Do
	// KeepAddresses: it comes back without being asked, and its addresses wait for it.
	KeepAddresses bool
	Restart       bool // start it again after a pause
	Hurry         bool // cut the pause short
	Remove        bool // --rm
}

// Next returns the container after an event, and what is to be done.
func Next(c Container, e Event) (Container, Action) {
	switch e.What {
	case StartAsked:
		return c.startAsked()
	case RestartDue:
		if c.Restarting && !e.Ending {
			return c, Action{Do: Launch}
		}
	case Launched:
		c.Running, c.Paused, c.Restarting, c.Started, c.Failed, c.Retries = true, false, false, true, false, 0
		return c, Action{Do: Watch}
	case LaunchFailed:
		return c.launchFailed(e)
	case Ended:
		return c.ended(e)
	case StopAsked:
		return c.stopAsked(e)
	case Found:
		return c, c.found(e.Task)
	case Restored:
		return c.restored()
	}
	return c, Action{}
}

func (c Container) startAsked() (Container, Action) {
	switch {
	case c.Paused:
		return c, Action{Do: RefusePaused}
	case c.Running:
		// Who asks for what failed believes that it would work now.
		return c, Action{Do: RefuseRunning, Hurry: c.Restarting && c.Failed}
	}
	c.Stopped, c.Restarts = false, 0
	return c, Action{Do: Launch}
}

func (c Container) launchFailed(e Event) (Container, Action) {
	// What was removed does not come back by itself; who brings it back can start the container.
	again := c.wantsRetry() && !e.Gone
	c.Running, c.Restarting, c.Failed = again, again, true
	if again {
		c.Retries++
	}
	return c, Action{Do: Down, KeepAddresses: again, Restart: again, Remove: c.AutoRemove && !again}
}

func (c Container) ended(e Event) (Container, Action) {
	if e.Unseen { // that the program runs again is no restart, as with Docker
		c.Restarts = 0
	}
	again := c.wantsRestart(e.Code) && !e.Ending
	c.Running, c.Paused, c.Restarting, c.Started = again, false, again, true
	if again && !e.Unseen {
		c.Restarts++
	}
	return c, Action{Do: Down, KeepAddresses: again || e.Returning || e.Ending, Restart: again, Remove: c.AutoRemove && !again}
}

func (c Container) stopAsked(e Event) (Container, Action) {
	if !e.Process && !c.Restarting {
		return c, Action{Do: RefuseStopped}
	}
	c.Stopped = c.Stopped || !e.Unasked
	if e.Process {
		return c, Action{Do: Signal}
	}
	c.Running, c.Restarting = false, false
	return c, Action{Do: Down, KeepAddresses: e.Returning || e.Ending}
}

// found compares the record with what the runtime has.
func (c Container) found(task model.TaskState) Action {
	keep := c.Restarting || c.wantsBoot()
	switch task {
	case model.TaskRunning, model.TaskPaused, model.TaskUnknown:
		return Action{Do: Adopt}
	case model.TaskStopped:
		if c.Running || !c.Started {
			return Action{Do: RecordEnd}
		}
		// The daemon was killed between the start of another run and its record.
		return Action{Do: DiscardEnded, KeepAddresses: keep}
	}
	switch {
	case c.Running && !c.Restarting: // it should be there
		return Action{Do: RecordUnseenEnd}
	case task == model.TaskCreated:
		return Action{Do: DiscardUnstarted, KeepAddresses: keep}
	}
	return Action{Do: Down, KeepAddresses: keep}
}

func (c Container) restored() (Container, Action) {
	switch {
	case c.AutoRemove && c.Started:
		return c, Action{Remove: true}
	case c.Restarting, c.Started && c.wantsBoot():
		c.Running, c.Restarting, c.Retries = true, true, 0
		return c, Action{Restart: true}
	}
	return c, Action{}
}

// wantsRestart tells whether the policy asks for another run after one that ended.
func (c Container) wantsRestart(code int) bool {
	switch c.Policy.Name {
	case OnFailure:
		return !c.Stopped && code != 0 && (c.Policy.Max == 0 || c.Restarts < c.Policy.Max)
	case Always, UnlessStopped:
		return !c.Stopped
	}
	return false
}

// wantsRetry tells whether the policy asks for another start after one that failed: only
// of what it has started itself. With on-failure a failed start counts like a run that
// failed.
func (c Container) wantsRetry() bool {
	if !c.Restarting || c.Stopped {
		return false
	}
	switch c.Policy.Name {
	case OnFailure:
		return c.Policy.Max == 0 || c.Restarts+c.Retries < c.Policy.Max
	case Always, UnlessStopped:
		return true
	}
	return false
}

// wantsBoot tells whether the policy asks for a start with the daemon. unless-stopped is
// what the user's stop outlives.
func (c Container) wantsBoot() bool {
	return c.Policy.Name == Always || c.Policy.Name == UnlessStopped && !c.Stopped
}
