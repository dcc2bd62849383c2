package watch

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/route"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/kernel/rule"
	"github.com/linkspan/linkspan/internal/kernel/sysctl"
)

// maxNames bounds how many links are known by their index.
const maxNames = 8192

// Host is the namespace to watch, and whose changes are whose.
type Host struct {
	Instance string // marks objects as this engine's
	Logger   *slog.Logger
	// Enter calls a function in the namespace.
	Enter   func(ctx context.Context, f func() error) error
	Sysctls *sysctl.Source
	// Own are netlink ports through which the engine makes changes.
	Own []uint32
	// Firewall may be a Notifier, or a Poller.
	Firewall any
	// ForwardingGrace is how long a host whose forwarding was switched off as a whole is
	// left so, see DefaultForwardingGrace.
	ForwardingGrace time.Duration
}

// Notifier is a firewall whose tables send notifications (NFNLGRP_NFTABLES).
type Notifier interface {
	// Tables are those in which somebody else's change may be a loss.
	Tables() []Table
	// Ports are the netlink ports through which the firewall makes changes itself.
	Ports() []uint32
}

// Commander is a Notifier that makes changes by commands.
type Commander interface {
	// Ran tells whether a process was a command of its own, a short while ago.
	Ran(pid int) bool
}

// Poller is a firewall whose tables send none, as those of iptables-legacy.
type Poller interface {
	// Poll looks, cheaply and twice a second, whether what it made is still there.
	Poll(ctx context.Context) (lost bool, err error)
}

// gatherTime is waited for what else there is: a bridge goes with all its ports.
const gatherTime = 5 * time.Millisecond

// watcher compares what the kernel tells with what is wanted.
type watcher struct {
	Host
	wanted func() desired.State
	conn   *rtnl.Conn
	// names are links of the host by their index, as they were last seen. Only the
	// goroutine that hears events uses them.
	names map[int]string
	// absent are interfaces that links of containers are to hang on, and that were seen to
	// go: when they are back something can be done. The same goroutine uses it.
	absent map[string]bool

	mu      sync.Mutex
	waiting map[desired.Owner]string // whose rows are to be looked at, and who is named
	woken   chan struct{}            // holds a token while somebody waits
}

// Suspicions tells whose rows others may have changed: from notifications of the kernel, and
// from settings and tables that send none, which are read again and again. It ends with
// ctx, and then closes the channel. wanted returns what is wanted at the moment; what is
// not wanted is of no interest. It changes nothing.
func Suspicions(ctx context.Context, h Host, wanted func() desired.State) (<-chan []desired.Suspicion, error) {
	w := &watcher{Host: h, wanted: wanted, names: map[int]string{}, absent: map[string]bool{}, waiting: map[desired.Owner]string{}, woken: make(chan struct{}, 1)}
	heard, err := w.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch for changes by others: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() {
		defer cancel()
		if err := heard.Run(w.hear); err != nil {
			h.Logger.Error("changes by others are not noticed any more", "op", "kernel.watch", "err", err)
		}
	})
	work.Go(func() { w.pollSettings(ctx) })
	if p, ok := h.Firewall.(Poller); ok {
		work.Go(func() { w.pollFirewall(ctx, p) })
	}
	out := make(chan []desired.Suspicion)
	go func() {
		defer close(out)
		w.deliver(ctx, out)
		heard.Close()
		work.Wait()
		w.conn.Close()
	}()
	return out, nil
}

// open opens the sockets, in the host's namespace.
func (w *watcher) open(ctx context.Context) (heard *Watch, err error) {
	o := Options{Own: w.Own}
	if n, ok := w.Firewall.(Notifier); ok {
		o.Own, o.Tables = append(o.Own, n.Ports()...), n.Tables()
	}
	if c, ok := w.Firewall.(Commander); ok {
		o.Mine = c.Ran
	}
	err = w.Enter(ctx, func() error {
		var err error
		if w.conn, err = rtnl.Open(new(atomic.Int64)); err != nil {
			return err
		}
		if heard, err = Open(o); err != nil {
			w.conn.Close()
		}
		return err
	})
	return heard, err
}

// deliver passes on what has gathered whenever somebody is ready to take it.
func (w *watcher) deliver(ctx context.Context, out chan<- []desired.Suspicion) {
	for {
		select {
		case <-w.woken:
		case <-ctx.Done():
			return
		}
		if !w.isUrgent() {
			select {
			case <-time.After(gatherTime):
			case <-ctx.Done():
				return
			}
		}
		select {
		case out <- w.take():
		case <-ctx.Done():
			return
		}
	}
}

// isUrgent tells whether something waits that leaves a host open.
func (w *watcher) isUrgent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, firewall := w.waiting[desired.Firewall]
	_, everything := w.waiting[desired.EverythingOnHost]
	return firewall || everything
}

func (w *watcher) take() []desired.Suspicion {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []desired.Suspicion
	for owner, who := range w.waiting {
		out = append(out, desired.Suspicion{Owner: owner, Who: who})
	}
	clear(w.waiting)
	slices.SortFunc(out, func(a, b desired.Suspicion) int { return strings.Compare(string(a.Owner), string(b.Owner)) })
	return out
}

// suspect notes that rows of an owner are to be looked at.
func (w *watcher) suspect(owner desired.Owner, who string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if who != "" || w.waiting[owner] == "" {
		w.waiting[owner] = who
	}
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// hear judges one event.
func (w *watcher) hear(e Event) {
	switch {
	case e.Overflow:
		clear(w.names)
		w.suspect(desired.EverythingOnHost, "")
	case e.Table.Name != "":
		w.suspect(desired.Firewall, e.Who())
	default:
		if owner, lost := w.judge(e); lost {
			w.suspect(owner, e.Who())
		}
	}
}

// judge says whose rows a message of rtnetlink is about, if by what it says one of them
// is not as wanted. Messages that cannot be read say nothing.
func (w *watcher) judge(e Event) (owner desired.Owner, lost bool) {
	switch e.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if i, err := link.Parse(e.Body); err == nil && e.Body[0] == unix.AF_UNSPEC { // AF_BRIDGE: of a port as such
			return w.link(i, e.Type == unix.RTM_DELLINK)
		}
	case unix.RTM_DELADDR:
		if i, err := addr.Parse(e.Body); err == nil {
			return w.onLink(i.Index, func(name string) desired.Row { return desired.Addr{Link: name, Prefix: i.Prefix} })
		}
	case unix.RTM_DELROUTE:
		if i, err := route.Parse(e.Body); err == nil {
			return w.route(i)
		}
	case unix.RTM_DELRULE:
		if r, ours, err := rule.Parse(e.Body); err == nil && ours {
			o, wanted := w.get(r.Row(desired.HostNamespace))
			return o.Owner, wanted
		}
	case unix.RTM_DELQDISC, unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER:
		if index, ok := tcIndex(e.Body); ok {
			return w.onLink(index, func(name string) desired.Row { return desired.Fence{Link: name} })
		}
	}
	return "", false
}

// link judges a link that is gone, or is as the message says.
func (w *watcher) link(i link.Info, gone bool) (owner desired.Owner, lost bool) {
	defer w.remember(i, gone)
	o, wanted := w.get(desired.Link{Name: i.Name})
	if (gone || w.absent[i.Name]) && w.isParent(i.Name) {
		w.absent[i.Name] = gone
		return desired.EverythingOnHost, true // it, and all that hangs there
	}
	if up, isUplink := w.get(desired.Uplink{Link: i.Name}); isUplink && (gone || w.nameOf(i.Master) != up.Row.(desired.Uplink).Bridge) {
		return up.Owner, true
	}
	if !wanted {
		return w.renamed(i)
	}
	row := o.Row.(desired.Link)
	if gone {
		return o.Owner, true
	}
	master, is := 0, i.Master
	if row.Master != "" && is != 0 && w.nameOf(is) == row.Master {
		master = is
	} else if row.Master != "" {
		master = -1
	}
	return o.Owner, link.Want{Row: row, Instance: w.Instance, Owner: o.Owner}.HostDrift(i, master) != ""
}

// isParent tells whether links of containers hang on an interface, or are to.
func (w *watcher) isParent(name string) bool {
	for o := range w.wanted().Kind(desired.KindLink) {
		if l, ok := o.Row.(desired.Link); ok && l.OnParent() && l.Parent.Name == name {
			return true
		}
	}
	return false
}

// renamed judges a link that nobody wants: if it bears the mark of an owner who wants
// one, and has none of that name, somebody has given it another name.
func (w *watcher) renamed(i link.Info) (owner desired.Owner, lost bool) {
	if before, known := w.names[i.Index]; known && before != i.Name {
		if _, wanted := w.get(desired.Link{Name: before}); wanted {
			return desired.EverythingOnHost, true
		}
	}
	return "", false
}

// remember keeps the names of links of ours, by which other messages are understood.
func (w *watcher) remember(i link.Info, gone bool) {
	if gone {
		delete(w.names, i.Index)
		return
	}
	if len(w.names) >= maxNames {
		clear(w.names)
	}
	w.names[i.Index] = i.Name
}

// nameOf returns the name of a link, empty if it is gone.
func (w *watcher) nameOf(index int) string {
	if index == 0 {
		return ""
	}
	if name, known := w.names[index]; known {
		return name
	}
	i, err := link.ByIndex(w.conn, index)
	if err != nil {
		return ""
	}
	w.remember(i, false)
	return i.Name
}

// row returns the wanted link with an index.
func (w *watcher) row(index int) (row desired.Link, owner desired.Owner, wanted bool) {
	o, wanted := w.get(desired.Link{Name: w.nameOf(index)})
	if !wanted {
		return row, "", false
	}
	return o.Row.(desired.Link), o.Owner, true
}

// onLink tells who wants a row on the link with an index, if anybody does.
func (w *watcher) onLink(index int, row func(name string) desired.Row) (owner desired.Owner, lost bool) {
	name := w.nameOf(index)
	if name == "" {
		return "", false
	}
	o, wanted := w.get(row(name))
	return o.Owner, wanted
}

func (w *watcher) get(row desired.Row) (desired.Owned, bool) { return w.wanted().Get(row.Key()) }

// route judges a route that is gone: one of ours, or one to the subnet of an address.
func (w *watcher) route(i route.Info) (owner desired.Owner, lost bool) {
	if i.Protocol == rtnl.Protocol && i.Type == unix.RTN_LOCAL {
		return w.delivery(i.Destination.Addr().Is4())
	}
	if i.Protocol == rtnl.Protocol {
		o, wanted := w.get(desired.Route{Destination: i.Destination, Table: i.Table})
		return o.Owner, wanted
	}
	_, owner, wanted := w.row(i.Index)
	if !wanted {
		return "", false
	}
	for row := range w.wanted().Owned(owner) {
		if a, ok := row.(desired.Addr); ok && a.Namespace == desired.HostNamespace && a.Prefix.Masked() == i.Destination {
			return owner, true
		}
	}
	return "", false
}

// delivery judges that the table of a family is gone which rules lead to: one who wants such
// a rule has it back for all.
func (w *watcher) delivery(four bool) (owner desired.Owner, lost bool) {
	for o := range w.wanted().Kind(desired.KindRule) {
		if r, ok := o.Row.(desired.Rule); ok && (four && r.IPv4 || !four && r.IPv6) {
			return o.Owner, true
		}
	}
	return "", false
}
