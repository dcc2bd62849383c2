// Package shape makes interfaces slow, late and lossy, as rows of the kind desired.KindShape
// want, by queueing disciplines at their roots (tc(8), sch_tbf and sch_netem).
//
//	what leaves ─▶ netem (delay, loss) ─▶ tbf (rate) ─▶ the interface
//
// It is a hand of the engine's, beside the kernel's: it knows interfaces by their names and
// makes none.
//
// Ours: the discipline at the root of an interface with the handle 6c73:, and what hangs on
// it. One that somebody else has put there is left alone, and refused with its name.
package shape

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// Shaper makes rows so, in the namespaces of a directory. Its methods may be called
// concurrently.
type Shaper struct {
	dir    *netns.Dir
	writes atomic.Int64
}

// New returns a Shaper.
func New(dir *netns.Dir) *Shaper { return &Shaper{dir: dir} }

// Apply makes the rows among the deltas so. What could not be done comes back as joined
// *desired.Failure.
func (s *Shaper) Apply(ctx context.Context, deltas []desired.Delta) error {
	spaces := map[string][]desired.Delta{}
	for _, d := range deltas {
		if d.Key().Kind == desired.KindShape {
			spaces[d.Space()] = append(spaces[d.Space()], d)
		}
	}
	var failed []error
	for _, name := range sorted(spaces) {
		each := func(do func(desired.Delta) error) (failed []error) {
			for _, d := range spaces[name] {
				if err := do(d); err != nil {
					failed = append(failed, &desired.Failure{Owner: d.Owner, Key: d.Key(), Err: err})
				}
			}
			return failed
		}
		err := s.in(ctx, name, func(c *rtnl.Conn) error {
			return errors.Join(each(func(d desired.Delta) error { return change(c, d) })...)
		}, func(away error) error {
			return errors.Join(each(func(d desired.Delta) error {
				if d.New == nil && errors.Is(away, fs.ErrNotExist) {
					return nil // it is gone, with all that was in it
				}
				return away
			})...)
		})
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// change makes one row so. What is to be removed from an interface that is gone is done.
func change(c *rtnl.Conn, d desired.Delta) error {
	row, wants := d.New.(desired.Shape)
	if !wants {
		old, _ := d.Old.(desired.Shape)
		index, err := indexOf(c, old.Link)
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err != nil {
			return err
		}
		return take(c, index)
	}
	index, err := indexOf(c, row.Link)
	if err != nil {
		return fmt.Errorf("interface %s: %w", row.Link, err)
	}
	return put(c, index, row)
}

// put makes a link as the row wants. What is so already is not written.
func put(c *rtnl.Conn, index int, row desired.Shape) error {
	have, err := read(c, index)
	if err != nil {
		return err
	}
	want := wanted(row)
	if slices.EqualFunc(have, want, qdisc.same) {
		return nil
	}
	if i := slices.IndexFunc(have, func(q qdisc) bool { return q.parent == atRoot && q.handle != rootHandle }); i >= 0 {
		return &model.Error{Kind: model.Conflict, Err: fmt.Errorf("interface %s: somebody else has put a %s at its root (tc qdisc show dev %s)", row.Link, have[i].kind, row.Link),
			Way: fmt.Sprintf("remove it: tc qdisc del dev %s root", row.Link)}
	}
	if len(have) > 0 && !slices.EqualFunc(have, want, func(a, b qdisc) bool { return a.kind == b.kind && a.handle == b.handle }) {
		if err := remove(c, index); err != nil { // one kind does not become another
			return err
		}
	}
	for _, q := range want {
		if err := write(c, index, q); err != nil {
			return errors.Join(err, remove(c, index))
		}
	}
	return nil
}

// take removes what is ours at a link.
func take(c *rtnl.Conn, index int) error {
	have, err := read(c, index)
	if err != nil || !slices.ContainsFunc(have, func(q qdisc) bool { return q.handle == rootHandle }) {
		return err
	}
	return remove(c, index)
}

// Resync looks at everything, and repairs what differs.
func (s *Shaper) Resync(ctx context.Context, want desired.State) (desired.Report, error) {
	return s.compare(ctx, want, nil, true)
}

// Check looks as Resync does, and changes nothing.
func (s *Shaper) Check(ctx context.Context, want desired.State) (desired.Report, error) {
	return s.compare(ctx, want, nil, false)
}

// Repair is Resync for the rows of some owners.
func (s *Shaper) Repair(ctx context.Context, want desired.State, owners []desired.Owner) (desired.Report, error) {
	return s.compare(ctx, want, func(o desired.Owner) bool { return slices.Contains(owners, o) }, true)
}

// space is what is wanted in one namespace.
type space struct {
	rows  map[string]desired.Owned // by the link
	links bool                     // rows of ours have interfaces there: strays may be at them
}

// spacesOf are the namespaces that have interfaces of ours, and what is wanted there; of
// some owners alone, those that have something there.
func spacesOf(want desired.State, of func(desired.Owner) bool) map[string]*space {
	out := map[string]*space{}
	at := func(name string) *space {
		if out[name] == nil {
			out[name] = &space{rows: map[string]desired.Owned{}}
		}
		return out[name]
	}
	for o := range want.Kind(desired.KindShape) {
		if row, ok := o.Row.(desired.Shape); ok && (of == nil || of(o.Owner)) {
			at(row.Namespace).rows[row.Link] = o
		}
	}
	if of != nil {
		return out
	}
	for o := range want.Kind(desired.KindLink) {
		if l, ok := o.Row.(desired.Link); ok {
			at(l.Namespace).links = true
			if l.Peer != nil {
				at(l.Peer.Namespace).links = true
			}
		}
	}
	return out
}

// compare looks at namespaces, and repairs what differs if it is to. What is not there, an
// interface or a namespace, or another in its place, is for whoever makes it to say.
func (s *Shaper) compare(ctx context.Context, want desired.State, of func(desired.Owner) bool, repair bool) (desired.Report, error) {
	var report desired.Report
	var failed []error
	before := s.writes.Load()
	spaces := spacesOf(want, of)
	for _, name := range sorted(spaces) {
		failed = append(failed, s.in(ctx, name, func(c *rtnl.Conn) error {
			drift, err := spaces[name].compare(c, name, repair)
			report.Drift = append(report.Drift, drift...)
			return err
		}, func(err error) error {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, netns.ErrHost) {
				return nil
			}
			return err
		}))
	}
	report.Writes = int(s.writes.Load() - before)
	return report, errors.Join(failed...)
}

// compare looks at one namespace.
func (p *space) compare(c *rtnl.Conn, name string, repair bool) (drift []string, err error) {
	links, err := linksOf(c)
	if err != nil {
		return nil, err
	}
	msgs, err := c.Dump(rtnl.Request{Type: unix.RTM_GETQDISC, Header: header(0, 0, 0)})
	if err != nil {
		return nil, err
	}
	have := map[int][]qdisc{}
	for _, msg := range msgs {
		index, q, err := parse(msg)
		if err != nil {
			return nil, err
		}
		if q.parent == atRoot && q.handle != 0 || q.handle == childHandle {
			have[index] = append(have[index], q)
		}
	}
	var failed []error
	for _, link := range sorted(links) {
		index := links[link]
		o, wants := p.rows[link]
		row, _ := o.Row.(desired.Shape)
		switch ours := slices.ContainsFunc(have[index], func(q qdisc) bool { return q.handle == rootHandle }); {
		case wants && !slices.EqualFunc(have[index], wanted(row), qdisc.same):
			drift = append(drift, row.String()+": not so")
			if repair {
				if err := put(c, index, row); err != nil {
					failed = append(failed, &desired.Failure{Owner: o.Owner, Key: row.Key(), Err: err})
				}
			}
		case !wants && ours && p.links:
			drift = append(drift, desired.Shape{Namespace: name, Link: link}.String()+": not wanted")
			if repair {
				failed = append(failed, take(c, index))
			}
		}
	}
	return drift, errors.Join(failed...)
}

// in runs f with a conversation with a namespace; away is told why there is none.
func (s *Shaper) in(ctx context.Context, name string, f func(*rtnl.Conn) error, away func(error) error) error {
	var c *rtnl.Conn
	if err := s.dir.Do(ctx, name, func() (err error) {
		c, err = rtnl.Open(&s.writes)
		return err
	}); err != nil {
		return away(err)
	}
	defer c.Close()
	return f(c)
}

// linksOf are the numbers of all links of a namespace, by their names.
func linksOf(c *rtnl.Conn) (map[string]int, error) {
	msgs, err := c.Dump(rtnl.Request{Type: unix.RTM_GETLINK, Header: make([]byte, unix.SizeofIfInfomsg)})
	if err != nil {
		return nil, err
	}
	out := make(map[string]int, len(msgs))
	for _, msg := range msgs {
		name, index, err := parseLink(msg)
		if err != nil {
			return nil, err
		}
		out[name] = index
	}
	return out, nil
}

// indexOf is the number of a link. The error is ENODEV if there is none of the name.
func indexOf(c *rtnl.Conn, link string) (int, error) {
	msg, err := c.Get(rtnl.Request{Type: unix.RTM_GETLINK, Header: make([]byte, unix.SizeofIfInfomsg), Attrs: func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, link)
	}})
	if err != nil {
		return 0, err
	}
	_, index, err := parseLink(msg)
	return index, err
}

func parseLink(msg []byte) (name string, index int, err error) {
	err = rtnl.Attributes(msg, unix.SizeofIfInfomsg, func(ad *netlink.AttributeDecoder) {
		if ad.Type() == unix.IFLA_IFNAME {
			name = strings.TrimRight(ad.String(), "\x00")
		}
	})
	if err != nil {
		return "", 0, err
	}
	return name, int(int32(binary.NativeEndian.Uint32(msg[4:]))), nil
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}
