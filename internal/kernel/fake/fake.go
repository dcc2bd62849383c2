// Package fake is a kernel in memory for tests: it takes the same rows as the
// real one and enforces what the real one does. Links need their namespace and
// their bridge, addresses need their link, a gateway must be on a connected
// subnet; what hangs on a thing vanishes with it. Any single write can be made
// to fail.
//
// It performs no effect outside its own memory.
package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/linkspan/linkspan/internal/desired"
)

// Kernel is the fake. The zero value is a host with nothing of ours.
type Kernel struct {
	mu      sync.Mutex // guards all of it
	objects map[desired.Key]desired.Row
	hung    map[place]map[desired.Key]bool // what vanishes with a place
	ends    map[place]desired.Link         // links by where they can be found
	foreign map[place]bool                 // interfaces that containers made for themselves
	away    map[string]bool                // interfaces of the host that were taken away
	writes  int
	fail    int // the write that fails, counted from 1; 0 none
	failed  bool
}

// Writes returns how many changes were made so far, failed ones included.
func (k *Kernel) Writes() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.writes
}

// FailWrite makes the n-th write from now fail, once.
func (k *Kernel) FailWrite(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail, k.failed = k.writes+n, false
}

// Failed tells whether the failure asked for has happened.
func (k *Kernel) Failed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// String prints everything there is, one object on a line, in order.
func (k *Kernel) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var b strings.Builder
	for _, key := range k.keys() {
		fmt.Fprintln(&b, k.objects[key])
	}
	return b.String()
}

// Lose removes an object as if somebody else had, with all that hangs on it. It
// tells whether the object was there.
func (k *Kernel) Lose(key desired.Key) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, there := k.objects[key]
	k.drop(key)
	return there
}

// Occupy makes an interface as a container does for itself.
func (k *Kernel) Occupy(namespace, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.foreign == nil {
		k.foreign = map[place]bool{}
	}
	k.foreign[place{namespace, name}] = true
}

// TakeAway takes an interface of the host's own away, with all that hangs on it, or
// gives it back.
func (k *Kernel) TakeAway(name string, away bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away == nil {
		k.away = map[string]bool{}
	}
	k.away[name] = away
	k.dropAll(place{desired.HostNamespace, name}, func(desired.Row) bool { return away })
}

// Apply makes the fake follow the deltas, in the order of the real one:
// additions by kind, then removals by kind in reverse.
func (k *Kernel) Apply(_ context.Context, deltas []desired.Delta) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.apply(deltas)
}

func (k *Kernel) apply(deltas []desired.Delta) error {
	var failures []error
	for _, d := range ordered(deltas, false) { // these leave before others come
		if l, ok := d.Old.(desired.Link); ok && l.OnParent() {
			if err := k.remove(d.Old); err != nil {
				failures = append(failures, &desired.Failure{Owner: d.Owner, Key: d.Key(), Err: err})
			}
		}
	}
	for _, d := range ordered(deltas, true) {
		if err := k.put(d.New); err != nil {
			failures = append(failures, &desired.Failure{Owner: d.Owner, Key: d.Key(), Err: err})
		}
	}
	for _, d := range ordered(deltas, false) {
		if err := k.remove(d.Old); err != nil {
			failures = append(failures, &desired.Failure{Owner: d.Owner, Key: d.Key(), Err: err})
		}
	}
	return errors.Join(failures...)
}

// ordered returns the additions or the removals among deltas in the order in
// which a kernel can take them.
func ordered(deltas []desired.Delta, additions bool) []desired.Delta {
	out := slices.DeleteFunc(slices.Clone(deltas), func(d desired.Delta) bool { return (d.New != nil) != additions })
	slices.SortStableFunc(out, func(a, b desired.Delta) int {
		byKind := cmp.Compare(a.Key().Kind.Rank(), b.Key().Kind.Rank())
		if byKind == 0 && additions {
			return cmp.Compare(rank(a.New), rank(b.New))
		}
		if !additions {
			return -byKind
		}
		return byKind
	})
	return out
}

// rank puts bridges before the links that are plugged into them, and parents before
// what hangs on them.
func rank(r desired.Row) int {
	if l, ok := r.(desired.Link); ok && (l.Master != "" || l.OnParent()) {
		return 1
	}
	if via, ok := r.(desired.Route); ok && via.Gateway.IsValid() { // it may be reached by another
		return 1
	}
	return 0
}

// Resync makes the fake hold exactly the rows of a state.
func (k *Kernel) Resync(_ context.Context, want desired.State) (desired.Report, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	deltas, drift := k.compare(want)
	before := k.writes
	err := k.apply(deltas)
	return desired.Report{Drift: drift, Writes: k.writes - before}, err
}

// Check says what Resync would change.
func (k *Kernel) Check(_ context.Context, want desired.State) (desired.Report, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, drift := k.compare(want)
	return desired.Report{Drift: drift}, nil
}

func (k *Kernel) compare(want desired.State) (deltas []desired.Delta, drift []string) {
	for o := range want.All() {
		if ignored(o.Row) {
			continue
		}
		have, there := k.objects[o.Row.Key()]
		switch {
		case !there:
			deltas = append(deltas, desired.Delta{Owner: o.Owner, New: o.Row})
			drift = append(drift, "missing: "+o.Row.String())
		case have.String() != o.Row.String():
			deltas = append(deltas, desired.Delta{Owner: o.Owner, Old: have, New: o.Row})
			drift = append(drift, "differs: "+o.Row.String())
		}
	}
	for _, key := range k.keys() {
		if _, wanted := want.Get(key); !wanted && !stays(key) {
			deltas = append(deltas, desired.Delta{Old: k.objects[key]})
			drift = append(drift, "left over: "+k.objects[key].String())
		}
	}
	return deltas, drift
}

func (k *Kernel) keys() []desired.Key {
	return slices.SortedFunc(maps.Keys(k.objects), desired.Key.Compare)
}

// ignored tells whether a row belongs to the resolver, the forwarder, whoever encrypts,
// shapes traffic or reserves ports, and not to a kernel.
func ignored(r desired.Row) bool {
	switch r.Key().Kind {
	case desired.KindName, desired.KindResolver, desired.KindForward, desired.KindReserve, desired.KindAnnounce,
		desired.KindWireGuard, desired.KindWireGuardPeer, desired.KindShape:
		return true
	}
	return false
}

// put makes one object be as wanted. What is so already is not written.
func (k *Kernel) put(r desired.Row) error {
	if ignored(r) {
		return nil
	}
	if have, there := k.objects[r.Key()]; there && have.String() == r.String() {
		return nil
	}
	if err := k.write(); err != nil {
		return err
	}
	if err := k.admit(r); err != nil {
		return err
	}
	k.keep(r)
	return nil
}

// remove takes one object away. A missing one is success.
func (k *Kernel) remove(r desired.Row) error {
	if _, there := k.objects[r.Key()]; !there || stays(r.Key()) {
		return nil
	}
	if err := k.write(); err != nil {
		return err
	}
	k.drop(r.Key())
	return nil
}

// stays tells whether a row is never set back.
func stays(k desired.Key) bool { return k.Kind == desired.KindSysctl || k.Kind == desired.KindLoopback }

// errInjected is what a write fails with on request.
var errInjected = fmt.Errorf("injected: %w", syscall.EIO)

func (k *Kernel) write() error {
	k.writes++
	if k.writes == k.fail {
		k.fail, k.failed = 0, true
		return errInjected
	}
	return nil
}
