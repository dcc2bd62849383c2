package kernel

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

const (
	// maxWorkers is how many namespaces are worked on at a time. Most of the
	// work is under the kernel's RTNL lock, so more would only wait there.
	maxWorkers = 4
	// maxSpaces is how many namespaces a turn keeps open: each costs two file
	// descriptors.
	maxSpaces = 256
)

// turn is one run through the phases.
type turn struct {
	k   *Kernel
	ctx context.Context // of the call that the turn is

	// repair says that what is wanted and there is ours, marked or not.
	repair bool
	// dry says that nothing may be written.
	dry bool
	// Of the removals in this turn, what takes other rows along with it.
	doomedSpaces map[string]bool
	doomedLinks  map[place]desired.Link // both ends of a veth pair

	mu     sync.Mutex   // guards the fields below
	census netns.Census // nil before the first look
	spaces map[string]*space
	names  map[place]string     // what containers have renamed: the wanted name to the one it has
	links  map[place]link.State // as the links phase left them
	failed map[desired.Owner]bool
	errs   []error
	fatal  bool
	lost   bool // something was missing that this turn did not make
	drift  []string
}

// place is a link by name.
type place struct{ space, link string }

// space is a namespace that is open during a turn.
type space struct {
	name  string
	file  *os.File
	conn  *rtnl.Conn
	users int
	links map[string]link.Info // by name, as they were when first looked up; guarded by turn.mu
}

// group is the rows of one phase in one namespace.
type group struct {
	space  string
	deltas []desired.Delta
}

// begin waits for the turn of the caller.
func (k *Kernel) begin(ctx context.Context, deltas []desired.Delta) (*turn, error) {
	select {
	case <-k.turns:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t := &turn{
		k: k, ctx: ctx,
		doomedSpaces: map[string]bool{}, doomedLinks: map[place]desired.Link{},
		spaces: map[string]*space{}, names: map[place]string{}, links: map[place]link.State{}, failed: map[desired.Owner]bool{},
	}
	t.spaces[desired.HostNamespace] = &space{file: k.hostFile, conn: k.host, users: 1, links: map[string]link.Info{}}
	t.markDoomed(deltas)
	return t, nil
}

// end closes what the turn opened and lets the next one begin.
func (t *turn) end() {
	for name, s := range t.spaces {
		if name != desired.HostNamespace {
			s.close()
		}
	}
	t.k.turns <- struct{}{}
}

// markDoomed notes what is about to be removed whole, so that nothing inside is
// removed one by one.
func (t *turn) markDoomed(deltas []desired.Delta) {
	for _, d := range deltas {
		if d.New != nil {
			continue
		}
		switch row := d.Old.(type) {
		case desired.Namespace:
			t.doomedSpaces[row.Name] = true
		case desired.Link:
			if !row.Adopt {
				t.doomedLinks[place{row.Namespace, row.Name}] = row
				if row.Peer != nil {
					t.doomedLinks[place{row.Peer.Namespace, row.Peer.Name}] = row
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

// dropAll removes, phase by phase in reverse.
func (t *turn) dropAll(drop map[desired.Kind][]desired.Delta) {
	for _, p := range slices.Backward(phases()) {
		t.run(drop[p.kind], p.drop)
	}
}

// run calls f for the deltas of each namespace, several namespaces at a time.
// The host and one container, which is what an attach is, are not worth the
// thread switches.
func (t *turn) run(deltas []desired.Delta, f func(*turn, group)) {
	if f == nil || len(deltas) == 0 {
		return
	}
	all := groups(deltas)
	if len(all) <= 2 {
		for _, g := range all {
			f(t, g)
		}
		return
	}
	var workers errgroup.Group
	workers.SetLimit(maxWorkers)
	for _, g := range all {
		workers.Go(func() error { f(t, g); return nil })
	}
	_ = workers.Wait() // f keeps its errors in the turn
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
func (t *turn) each(g group, f func(*space, desired.Delta) error) {
	err := t.in(g.space, func(s *space) error {
		for _, d := range g.deltas {
			t.try(d, func() error { return f(s, d) })
		}
		return nil
	})
	if err == nil {
		return
	}
	for _, d := range g.deltas {
		t.try(d, func() error { return err })
	}
}

// eachGone is each for removals: a namespace that is no longer there, or will not
// be, has nothing to remove.
func (t *turn) eachGone(g group, f func(*space, desired.Delta) error) {
	if t.doomedSpaces[g.space] {
		return
	}
	if err := t.in(g.space, func(*space) error { return nil }); errors.Is(err, fs.ErrNotExist) {
		return
	}
	t.each(g, f)
}

// try runs f unless the delta's owner has failed before, so that one fault is
// told once.
func (t *turn) try(d desired.Delta, f func() error) {
	if t.skips(d) {
		return
	}
	if err := t.ctx.Err(); err != nil {
		t.note(err)
		return
	}
	if err := f(); err != nil {
		t.missed(d, err)
		t.note(&desired.Failure{Owner: d.Owner, Key: d.Key(), Err: err})
	}
}

// skips tells whether nothing more is to be done for the delta.
func (t *turn) skips(d desired.Delta) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed[d.Owner] || t.fatal
}

// isFatal tells whether the turn has met an error that no row explains.
func (t *turn) isFatal() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fatal
}

// note keeps an error. One that cannot be attributed to a row ends the turn.
func (t *turn) note(err error) {
	if err == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	failures := desired.Failures(err)
	for _, f := range failures {
		t.failed[f.Owner] = true
		t.errs = append(t.errs, f)
	}
	if len(failures) == 0 && !t.fatal {
		t.fatal = true
		t.errs = append(t.errs, err)
	}
}

func (t *turn) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.errs...)
}

// in calls f with the namespace open. The error is fs.ErrNotExist if it is not
// there.
func (t *turn) in(name string, f func(*space) error) error {
	s, err := t.open(name)
	if err != nil {
		return err
	}
	defer t.release(s)
	return f(s)
}

func (t *turn) open(name string) (*space, error) {
	t.mu.Lock()
	s, known := t.spaces[name]
	if known {
		s.users++
	}
	t.mu.Unlock()
	if known {
		return s, nil
	}
	s, err := t.enter(name)
	if err != nil {
		return nil, err
	}
	return t.keep(s), nil
}

// enter opens a namespace by its name. If the name is gone, or leads to a namespace
// that is not ours, it is given back to the one that lives (see living).
func (t *turn) enter(name string) (*space, error) {
	file, err := t.k.netns.Open(name)
	if errors.Is(err, fs.ErrNotExist) && !t.doomedSpaces[name] {
		return t.rename(name, nil)
	}
	if err != nil {
		return nil, err
	}
	s, err := t.dial(name, file)
	if err != nil {
		return nil, err
	}
	if lo, err := t.lookup(s, loopback); err != nil || t.doomedSpaces[name] || ours(t.k.instance, lo) {
		return s, nil
	}
	return t.rename(name, s)
}

// look opens a namespace just as its name leads, whosever it is.
func (t *turn) look(name string, f func(*space) error) error {
	file, err := t.k.netns.Open(name)
	if err != nil {
		return err
	}
	s, err := t.dial(name, file)
	if err != nil {
		return err
	}
	defer s.close()
	return f(s)
}

// dial begins to speak with a namespace. It closes file if that fails.
func (t *turn) dial(name string, file *os.File) (s *space, err error) {
	s = &space{name: name, file: file, users: 1, links: map[string]link.Info{}}
	if s.conn, err = t.k.dial(t.ctx, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return s, nil
}

// keep adds an open namespace to the turn, or closes it in favour of the one
// that another worker opened meanwhile.
func (t *turn) keep(s *space) *space {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other, known := t.spaces[s.name]; known {
		s.close()
		other.users++
		return other
	}
	t.spaces[s.name] = s
	return s
}

// release lets go of a namespace, and closes it if too many are open.
func (t *turn) release(s *space) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.users--
	if s.users == 0 && len(t.spaces) > maxSpaces {
		delete(t.spaces, s.name)
		s.close()
	}
}

// shut closes a namespace before it is removed.
func (t *turn) shut(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, known := t.spaces[name]; known && name != desired.HostNamespace {
		delete(t.spaces, name)
		s.close()
	}
}

// close gives back what the namespace has been opened with so far.
func (s *space) close() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.file != nil {
		s.file.Close()
	}
}

// indexOf returns the index of a link, looked up once in a turn.
func (t *turn) indexOf(s *space, name string) (int, error) {
	i, err := t.lookup(s, name)
	return i.Index, err
}

// lookup returns a link as it was when the turn first needed it.
func (t *turn) lookup(s *space, name string) (link.Info, error) {
	t.mu.Lock()
	i, known := s.links[name]
	actual := cmp.Or(t.names[place{s.name, name}], name)
	t.mu.Unlock()
	if known {
		return i, nil
	}
	i, err := link.Get(s.conn, actual)
	if err != nil {
		return link.Info{}, err
	}
	t.mu.Lock()
	s.links[name] = i
	t.mu.Unlock()
	return i, nil
}

// isDoomed tells whether a link is removed in this turn.
func (t *turn) isDoomed(s *space, name string) bool {
	_, doomed := t.doomedLinks[place{s.name, name}]
	return doomed
}

// forgetLink is for links that were made anew.
func (t *turn) forgetLink(s *space, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(s.links, name)
}
