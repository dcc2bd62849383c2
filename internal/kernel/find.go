package kernel

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

// found is how one namespace differs from what is wanted of it.
type found struct {
	wrong  []defect
	strays []desired.Delta // of ours and wanted by nobody
}

// defect is a wanted row that the kernel does not have as it should.
type defect struct {
	delta desired.Delta
	why   string
}

// missing is why a row is not as wanted that is not there at all.
const missing = "missing"

// onLink returns the index of the link that a wanted row is on. Without the link the
// row is missing, too: that is noted, and there is false.
func (f *found) onLink(p *pass, s *space, name string, d desired.Delta) (index int, there bool, err error) {
	index, err = p.indexOf(s, name)
	if errors.Is(err, unix.ENODEV) {
		f.check(d, missing)
		return 0, false, nil
	}
	return index, err == nil, err
}

// check adds a defect if there is a reason.
func (f *found) check(d desired.Delta, why string) {
	if why != "" {
		f.wrong = append(f.wrong, defect{d, why})
	}
}

// stray adds something that is left over.
func (f *found) stray(owner desired.Owner, row desired.Row) {
	f.strays = append(f.strays, desired.Delta{Owner: owner, Old: row})
}

// inEach returns what runs find in every namespace of ours and in the host's, and
// writes down the drift. The deltas are ready to be applied. what names the rows of
// the kind, for errors.
func (p *pass) inEach(what string, kind desired.Kind, find func(group) (found, error)) func(desired.State) (wrong, strays []desired.Delta) {
	return func(want desired.State) (wrong, strays []desired.Delta) {
		all := p.search(territory(kind, want, p.scope), func(g group) found {
			f, err := find(g)
			if errors.Is(err, fs.ErrNotExist) { // the namespace is missing, and so is all in it
				return allMissing(g)
			}
			p.note(about(err, "look at the %s of %s", what, cmp.Or(g.space, "the host")))
			return f
		})
		for _, w := range all.wrong {
			wrong = append(wrong, w.delta)
			p.drift = append(p.drift, w.delta.New.String()+": "+w.why)
		}
		all.strays = slices.DeleteFunc(all.strays, p.scope.spares)
		for _, s := range all.strays {
			p.drift = append(p.drift, s.Old.String()+": left over")
		}
		return wrong, all.strays
	}
}

// search calls find for every group, several at a time, and returns what they found in
// the order of the rows' names.
func (p *pass) search(groups []group, find func(group) found) (all found) {
	var mu sync.Mutex // guards all
	var workers errgroup.Group
	workers.SetLimit(maxWorkers)
	for _, g := range groups {
		workers.Go(func() error {
			f := find(g)
			mu.Lock()
			defer mu.Unlock()
			all.wrong = append(all.wrong, f.wrong...)
			all.strays = append(all.strays, f.strays...)
			return nil
		})
	}
	_ = workers.Wait() // errors are kept in the pass
	slices.SortFunc(all.wrong, func(a, b defect) int { return byKey(a.delta, b.delta) })
	slices.SortFunc(all.strays, byKey)
	return all
}

func allMissing(g group) (f found) {
	for _, d := range g.deltas {
		f.check(d, missing)
	}
	return f
}

func byKey(a, b desired.Delta) int { return cmp.Compare(a.Key().Name, b.Key().Name) }

// territory groups the wanted rows of a kind by namespace; namespaces of ours
// where nothing of the kind is wanted are there too, for strays.
func territory(kind desired.Kind, want desired.State, of scope) []group {
	deltas := map[string][]desired.Delta{}
	if of != ofOwners {
		deltas[desired.HostNamespace] = nil
	}
	for o := range want.Kind(desired.KindNamespace) {
		deltas[o.Row.Space()] = nil
	}
	for o := range want.Kind(kind) {
		name := o.Row.Space()
		deltas[name] = append(deltas[name], desired.Delta{Owner: o.Owner, New: o.Row})
	}
	var out []group
	for name, ds := range deltas {
		out = append(out, group{name, ds})
	}
	return out
}
