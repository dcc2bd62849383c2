package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	// maxWorkers is how many namespaces are worked on at a time. Most of the
	// work is under the kernel's RTNL lock, so more would only wait there.
	maxWorkers = 4
	// maxSpaces is how many namespaces a pass keeps open: each costs two file
	// descriptors.
	maxSpaces = 256
)

// pass is one run through the steps that make rows so: a call of Apply, Resync, Check
// or Observe. There is one at a time. What is done about the rows of one kind is in a
// file of its own (handlers).
type pass struct {
	k     *Kernel
	ctx   context.Context // of the call that the pass is
	steps []step

	// repair says that what is wanted and there is ours, marked or not.
	repair bool
	// dry says that nothing may be written.
	dry bool
	// scope is how much of what there is the pass compares.
	scope scope
	// whole is what is wanted in all, of which the scope leaves something out.
	whole desired.State
	// Of the removals in this pass, what takes other rows along with it.
	doomedSpaces map[string]bool
	doomedLinks  map[place]desired.Link // both ends of a veth pair
	leaving      []desired.Delta        // links on parents
	leave        sync.Once              // they leave when the first needs it

	mu     sync.Mutex   // guards the fields below
	census netns.Census // nil before the first look
	spaces map[string]*space
	names  map[place]string        // what containers have renamed: the wanted name to the one it has
	links  map[place]link.State    // as the step of links left them
	remade map[place]desired.Owner // ends in containers of pairs that were gone, by their wanted names
	failed map[desired.Owner]bool
	errs   []error
	fatal  bool
	lost   bool // something was missing that this pass did not make
	drift  []string
}

// group is rows of one kind in one namespace.
type group struct {
	space  string
	deltas []desired.Delta
}

// begin waits until the pass before has ended.
func (k *Kernel) begin(ctx context.Context, deltas []desired.Delta) (*pass, error) {
	select {
	case <-k.idle:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p := &pass{
		k: k, ctx: ctx,
		doomedSpaces: map[string]bool{}, doomedLinks: map[place]desired.Link{},
		spaces: map[string]*space{}, names: map[place]string{}, links: map[place]link.State{}, remade: map[place]desired.Owner{}, failed: map[desired.Owner]bool{},
	}
	p.steps = stepsOf(p.handlers())
	p.spaces[desired.HostNamespace] = &space{file: k.hostFile, conn: k.host, users: 1, links: map[string]link.Info{}}
	p.markDoomed(deltas)
	return p, nil
}

// end closes what the pass opened and lets the next one begin.
func (p *pass) end() {
	for name, s := range p.spaces {
		if name != desired.HostNamespace {
			s.close()
		}
	}
	p.k.idle <- struct{}{}
}

// markDoomed notes what is about to be removed whole, so that nothing inside is
// removed one by one.
func (p *pass) markDoomed(deltas []desired.Delta) {
	for _, d := range deltas {
		if d.New != nil {
			continue
		}
		switch row := d.Old.(type) {
		case desired.Namespace:
			p.doomedSpaces[row.Name] = !model.IsGuest(row.Name) // a guest's goes on
		case desired.Link:
			if row.OnParent() || row.Outside() {
				p.leaving = append(p.leaving, d)
			}
			if !row.Adopt {
				p.doomedLinks[place{row.Namespace, row.Name}] = row
				if row.Peer != nil {
					p.doomedLinks[place{row.Peer.Namespace, row.Peer.Name}] = row
				}
			}
		}
	}
}

// split parts deltas into what is to be made and what is to be removed.
func split(deltas []desired.Delta) (put, drop map[desired.Kind][]desired.Delta) {
	put, drop = map[desired.Kind][]desired.Delta{}, map[desired.Kind][]desired.Delta{}
	for _, d := range deltas {
		to := put
		if d.New == nil {
			to = drop
		}
		to[d.Key().Kind] = append(to[d.Key().Kind], d)
	}
	return put, drop
}

// dropAll removes, step by step in reverse.
func (p *pass) dropAll(drop map[desired.Kind][]desired.Delta) {
	for _, s := range slices.Backward(p.steps) {
		p.run(drop[s.kind], s.drop)
	}
}

// run calls f for the deltas of each namespace, several namespaces at a time.
// The host and one container, which is what an attach is, are not worth the
// thread switches.
func (p *pass) run(deltas []desired.Delta, f func(group)) {
	if f == nil || len(deltas) == 0 {
		return
	}
	all := groups(deltas)
	if len(all) <= 2 {
		for _, g := range all {
			f(g)
		}
		return
	}
	var workers errgroup.Group
	workers.SetLimit(maxWorkers)
	for _, g := range all {
		workers.Go(func() error { f(g); return nil })
	}
	_ = workers.Wait() // f keeps its errors in the pass
}

func groups(deltas []desired.Delta) []group {
	at := map[string]int{}
	var out []group
	for _, d := range deltas {
		name := d.Space()
		i, known := at[name]
		if !known {
			i = len(out)
			at[name] = i
			out = append(out, group{space: name})
		}
		out[i].deltas = append(out[i].deltas, d)
	}
	return out
}

// each calls f for every delta of the group in its namespace and keeps what
// fails.
func (p *pass) each(g group, f func(*space, desired.Delta) error) {
	err := p.in(g.space, func(s *space) error {
		for _, d := range g.deltas {
			p.try(d, func() error { return f(s, d) })
		}
		return nil
	})
	if err == nil {
		return
	}
	for _, d := range g.deltas {
		p.try(d, func() error { return err })
	}
}

// eachGone is each for removals: a namespace that is no longer there, or will not
// be, has nothing to remove.
func (p *pass) eachGone(g group, f func(*space, desired.Delta) error) {
	if p.doomedSpaces[g.space] {
		return
	}
	if err := p.in(g.space, func(*space) error { return nil }); errors.Is(err, fs.ErrNotExist) {
		return
	}
	p.each(g, f)
}

// try runs f unless the delta's owner has failed before, so that one fault is
// told once.
func (p *pass) try(d desired.Delta, f func() error) {
	if p.skips(d) {
		return
	}
	if err := p.ctx.Err(); err != nil {
		p.note(err)
		return
	}
	if err := f(); err != nil {
		p.missed(d, err)
		p.note(&desired.Failure{Owner: d.Owner, Key: d.Key(), Err: err})
	}
}

// missed notes that a row had no place: its namespace, its interface, or the subnet
// of its gateway in a container is gone, and nothing in this pass makes it. A
// setting that is not there may never have been.
func (p *pass) missed(d desired.Delta, err error) {
	gone := errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist)
	if d.Space() != desired.HostNamespace {
		gone = gone || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH)
	}
	if p.repair || !gone || d.Key().Kind == desired.KindSysctl {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = true
}

// skips tells whether nothing more is to be done for the delta.
func (p *pass) skips(d desired.Delta) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed[d.Owner] || p.fatal
}

// isFatal tells whether the pass has met an error that no row explains.
func (p *pass) isFatal() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fatal
}

// note keeps an error. One that cannot be attributed to a row ends the pass.
func (p *pass) note(err error) {
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	failures := desired.Failures(err)
	for _, f := range failures {
		p.failed[f.Owner] = true
		p.errs = append(p.errs, f)
	}
	if len(failures) == 0 && !p.fatal {
		p.fatal = true
		p.errs = append(p.errs, err)
	}
}

func (p *pass) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.errs...)
}

// tell adds a line to the drift, once.
func (p *pass) tell(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.drift, line) {
		p.drift = append(p.drift, line)
	}
}

// about says what an error is about.
func about(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}
