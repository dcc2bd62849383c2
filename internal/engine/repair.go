package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/limits"
)

// Watcher notices what others change of what was applied, and repairs a part of it.
type Watcher interface {
	// Watch tells of rows that others may have changed until ctx ends; then it closes the
	// channel. What wanted does not have is of no interest.
	Watch(ctx context.Context, wanted func() desired.State) (<-chan []desired.Suspicion, error)
	// Repair is Resync for the rows of owners, see desired.Suspicion.
	Repair(ctx context.Context, want desired.State, owners []desired.Owner) (desired.Report, error)
}

// Repair is what was found lost, and put right, because somebody else had changed it.
type Repair struct {
	// Lost has a line for each difference.
	Lost []string
	// Who changed it, as far as the kernel tells; empty if it does not.
	Who  string
	Took time.Duration
	// Pause is for how long the same will not be put right again, if it does not last.
	Pause time.Duration
}

// Kinds counts what was lost by kind; what the firewall lost is counted as
// desired.KindPolicy.
func (r Repair) Kinds() map[desired.Kind]int {
	out := map[desired.Kind]int{}
	for _, line := range r.Lost {
		word, _, _ := strings.Cut(line, " ")
		kind := desired.Kind(word)
		if !slices.Contains(desired.Kinds(), kind) {
			kind = desired.KindPolicy
		}
		out[kind]++
	}
	return out
}

// withoutParts leaves out of lines of drift what is missing because that which it was in
// is: the sets of a table.
func withoutParts(drift []string) (out []string) {
	var gone []string
	for _, line := range drift {
		if slices.ContainsFunc(gone, func(whole string) bool { return strings.HasPrefix(line, whole) }) {
			continue
		}
		if whole, missing := strings.CutSuffix(line, " missing"); missing && strings.HasPrefix(line, "table ") {
			gone = append(gone, whole)
		}
		out = append(out, line)
	}
	return out
}

// String is a line of at most some hundred bytes for each of the first differences.
func (r Repair) String() string {
	const named = 8
	out := strings.Join(r.Lost[:min(len(r.Lost), named)], "; ")
	if more := len(r.Lost) - named; more > 0 {
		out += fmt.Sprintf("; %d more", more)
	}
	return out
}

// repairs looks after what others changed. Only the turn uses it.
type repairs struct {
	watcher Watcher // nil: nobody watches
	plan    func() desired.State
	log     *slog.Logger
	tell    func(Repair) // may be nil

	heard   <-chan []desired.Suspicion // nil: nothing is heard
	waiting map[desired.Owner]string   // whose rows are to be looked at, and who is named
	pauses  map[desired.Owner]*limits.Pause
	// crowd is until when the rows of all endpoints together wait: what a container does to its own
	// interfaces must not cost the host more than a part of its time, however many
	// containers do it, nor put off what others need.
	crowd time.Time
}

// crowdShare bounds what looks at rows of endpoints cost: of so many parts of the time one.
const crowdShare = 4

// isEndpoint tells whether rows are those that a container can reach, by its own end of
// a veth pair.
func isEndpoint(owner desired.Owner) bool { return strings.HasPrefix(string(owner), "endpoint/") }

// watch begins to hear what others change.
func (r *repairs) watch(ctx context.Context) {
	r.waiting, r.pauses = map[desired.Owner]string{}, map[desired.Owner]*limits.Pause{}
	if r.watcher == nil {
		return
	}
	var err error
	if r.heard, err = r.watcher.Watch(ctx, r.plan); err != nil {
		r.log.Error("what others change is repaired only when asked for", "op", "engine.watch", "err", err)
	}
}

// suspect notes what is to be looked at.
func (r *repairs) suspect(list []desired.Suspicion) {
	for _, s := range list {
		if s.Who != "" || r.waiting[s.Owner] == "" {
			r.waiting[s.Owner] = s.Who
		}
	}
}

// due returns whose rows are to be looked at now, and when those are that have to wait;
// zero for never. What nobody wants any more is forgotten.
func (r *repairs) due(now time.Time) (owners []desired.Owner, next time.Time) {
	want := r.plan()
	for owner := range r.waiting {
		if !isWanted(want, owner) {
			delete(r.waiting, owner)
			continue
		}
		until := r.pauseOf(owner).Until()
		if isEndpoint(owner) && r.crowd.After(until) {
			until = r.crowd
		}
		switch {
		case !until.After(now):
			owners = append(owners, owner)
		case next.IsZero() || until.Before(next):
			next = until
		}
	}
	slices.Sort(owners)
	return owners, next
}

func isWanted(want desired.State, owner desired.Owner) bool {
	if owner == desired.Firewall || owner == desired.EverythingOnHost {
		return true
	}
	for range want.Owned(owner) {
		return true
	}
	return false
}

// pauseOf returns the pause of an owner; one that is over has no place in memory.
func (r *repairs) pauseOf(owner desired.Owner) limits.Pause {
	if p := r.pauses[owner]; p != nil {
		return *p
	}
	return limits.Pause{}
}

// failedAgain is after how long what could not be put right is tried again, if it has no
// pause yet.
const failedAgain = time.Second

// run looks at what is due, and puts it right. It returns after how long to come
// again; none if nothing waits.
func (r *repairs) run(ctx context.Context) <-chan time.Time {
	if len(r.waiting) == 0 {
		return nil
	}
	owners, next := r.due(time.Now())
	for _, part := range [][]desired.Owner{hostsOwn(owners), endpoints(owners)} {
		if len(part) > 0 {
			r.look(ctx, part)
		}
	}
	if len(owners) > 0 { // and how long those have to wait that failed
		if owners, next = r.due(time.Now()); len(owners) > 0 {
			next = time.Now().Add(failedAgain)
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(time.Until(next))
}

func hostsOwn(owners []desired.Owner) []desired.Owner {
	return slices.DeleteFunc(slices.Clone(owners), isEndpoint)
}

func endpoints(owners []desired.Owner) []desired.Owner {
	return slices.DeleteFunc(slices.Clone(owners), func(o desired.Owner) bool { return !isEndpoint(o) })
}

// look looks at rows of owners together, and says what was lost. What cannot be
// put right goes on waiting.
func (r *repairs) look(ctx context.Context, owners []desired.Owner) {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	var who []string
	for _, owner := range owners {
		if by := r.waiting[owner]; by != "" && !slices.Contains(who, by) {
			who = append(who, by)
		}
		delete(r.waiting, owner)
	}
	began := time.Now()
	report, err := r.watcher.Repair(ctx, r.plan(), owners)
	took := time.Since(began)
	done := Repair{Lost: withoutParts(report.Drift), Who: strings.Join(who, ", "), Took: took}
	done.Pause = r.note(owners, err != nil || len(done.Lost) > 0, time.Now(), took)
	if err != nil && !errors.Is(err, context.Canceled) {
		r.log.Warn("what somebody else changed cannot be repaired yet", "op", "engine.repair", "what", done.String(), "who", done.Who, "again in", done.Pause, "err", err)
		for _, owner := range owners {
			r.waiting[owner] = done.Who
		}
		return
	}
	if len(done.Lost) > 0 {
		r.report(done)
	}
}

// note sets the pauses of owners, and returns the longest.
func (r *repairs) note(owners []desired.Owner, lost bool, now time.Time, took time.Duration) (longest time.Duration) {
	for owner, p := range r.pauses {
		if p.Over(now) && !slices.Contains(owners, owner) {
			delete(r.pauses, owner)
		}
	}
	for _, owner := range owners {
		p := r.pauses[owner]
		if p == nil {
			p = &limits.Pause{}
			r.pauses[owner] = p
		}
		if lost {
			p.Lost(now)
		} else {
			p.Whole(now, took)
		}
		longest = max(longest, p.Length())
		if isEndpoint(owner) {
			r.crowd = now.Add(crowdShare * took)
		}
	}
	return longest
}

// report logs what was lost, in one line, and tells whoever wants to know.
func (r *repairs) report(done Repair) {
	attrs := []any{"op", "engine.repair", "what", done.String(), "took", done.Took.Round(10 * time.Microsecond)}
	if done.Who != "" {
		attrs = append(attrs, "who", done.Who)
	}
	if done.Pause > 0 {
		attrs = append(attrs, "pause", done.Pause)
	}
	r.log.Warn("repaired what somebody else had changed", attrs...)
	if r.tell != nil {
		r.tell(done)
	}
}
