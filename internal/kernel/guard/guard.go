// Package guard looks after the firewall while there is no daemon: it hears what others
// change of its tables, and restores them from the last policies it was given.
//
//	daemon's rows ──▶ Apply, Resync ──▶ kept     (a daemon is there: nothing is written)
//	daemon gone ──Resume──▶ watch ──change by others──▶ Firewall.Resync(rows)
//	daemon back ──Rest───▶ nothing is written any more
//
// All the while it holds tables of its own, by which connections go on and nothing opens
// until the others are back (hold).
//
// It must not decide anything, and it restores all or nothing: whoever has not got all
// rows does not know what to forbid. What a daemon that was killed had begun stays as it
// is, unless what no row changes is gone too: its rows may not have come here.
package guard

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/watch"
	"github.com/linkspan/linkspan/internal/limits"
)

// repairTime bounds one look at the firewall.
const repairTime = 30 * time.Second

// Settings say which firewall it is.
type Settings struct {
	Instance   string
	Backend    string
	Off4, Off6 bool
}

// Options are what a Guard needs to know.
type Options struct {
	// Open opens the firewall that settings name, and returns what closes it again.
	Open func(ctx context.Context, s Settings) (kernel.Firewall, func() error, error)
	// Hold opens what is held for that firewall, in the calling thread's namespace, and
	// returns what lets go of it.
	Hold   func(s Settings) (kernel.Firewall, func() error, error)
	Logger *slog.Logger
	// Enter calls a function in the namespace to watch; nil calls it at once.
	Enter func(func() error) error
}

// Guard keeps policies. Its methods may be called from any goroutine.
type Guard struct {
	o Options

	mu       sync.Mutex
	rows     map[desired.Key]desired.Owned
	settings Settings
	armed    bool // all rows are there
	daemons  int
	closed   bool
	ports    int                // of containers, among the rows
	hold     *hold              // nil unless the guard is armed and there are containers
	unheld   bool               // it cannot be held: the kernel has no such tables, or knows no such rows
	letGo    *time.Timer        // looks again whether hold is wanted; nil if nobody asked for that
	stop     context.CancelFunc // ends what runs; nil if nothing does
	done     chan struct{}      // closed when it has ended
}

// New returns a guard that has nothing to look after.
func New(o Options) *Guard {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Enter == nil {
		o.Enter = func(f func() error) error { return f() }
	}
	return &Guard{o: o, rows: map[desired.Key]desired.Owned{}}
}

// Configure says which firewall the policies are for that come next.
func (g *Guard) Configure(s Settings) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settings = s
}

// Apply keeps the policies among the deltas.
func (g *Guard) Apply(deltas []desired.Delta) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range deltas {
		if d.Old != nil {
			g.dropLocked(d.Old.Key())
		}
	}
	for _, d := range deltas {
		if d.New != nil && d.New.Key().Kind == desired.KindPolicy {
			g.keepLocked(desired.Owned{Owner: d.Owner, Row: d.New})
		}
	}
	g.followLocked(policies(deltas))
	g.holdLocked()
}

func (g *Guard) keepLocked(o desired.Owned) {
	g.dropLocked(o.Row.Key())
	g.rows[o.Row.Key()] = o
	if _, port := o.Row.(desired.PortSecurity); port {
		g.ports++
	}
}

func (g *Guard) dropLocked(key desired.Key) {
	if _, port := g.rows[key].Row.(desired.PortSecurity); port {
		g.ports--
	}
	delete(g.rows, key)
}

// Resync keeps the policies of a state and no others.
func (g *Guard) Resync(want desired.State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.rows)
	g.ports = 0
	for o := range want.Kind(desired.KindPolicy) {
		g.keepLocked(o)
	}
	g.armed = g.settings != Settings{} && !(g.settings.Off4 && g.settings.Off6)
	g.resyncHoldLocked()
	g.settleLocked()
}

// Release returns what is kept, for who looks after the firewall from now on; false if
// not everything is known.
func (g *Guard) Release() (rows []desired.Owned, s Settings, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range g.rows {
		rows = append(rows, o)
	}
	ok, g.armed = g.armed, false
	g.settleLocked()
	return rows, g.settings, ok
}

// Adopt takes over what another guard has released.
func (g *Guard) Adopt(rows []desired.Owned, s Settings) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range rows {
		g.keepLocked(o)
	}
	g.settings, g.armed = s, true
	g.settleLocked()
}

// Rest leaves the firewall to a daemon that has come. When it returns, nothing is written
// any more.
func (g *Guard) Rest() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.daemons++
	g.settleLocked()
}

// Resume is Rest's end: that daemon is gone.
func (g *Guard) Resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.daemons--
	g.settleLocked()
}

// Close ends it. The firewall stays.
func (g *Guard) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.settleLocked()
}

// settleLocked begins or ends to look after the firewall. A daemon that has taken all of it away leaves no policies: it is
// not to be made again.
func (g *Guard) settleLocked() {
	g.holdLocked()
	wanted := g.armed && len(g.rows) > 0 && g.daemons == 0 && !g.closed
	switch {
	case wanted && g.stop == nil:
		ctx, stop := context.WithCancel(context.Background())
		g.stop, g.done = stop, make(chan struct{})
		go g.run(ctx, g.done, g.settings, g.allLocked())
	case !wanted && g.stop != nil:
		g.stop()
		<-g.done
		g.stop = nil
	}
}

// run looks after the firewall until ctx ends. Rows do not change meanwhile: they come
// from a daemon.
func (g *Guard) run(ctx context.Context, done chan<- struct{}, s Settings, rows []desired.Row) {
	defer close(done)
	if err := g.watch(ctx, s, rows); err != nil && ctx.Err() == nil {
		g.o.Logger.Error("nobody looks after the firewall while there is no daemon", "op", "keeper.guard", "err", err)
	}
}

func (g *Guard) watch(ctx context.Context, s Settings, rows []desired.Row) error {
	firewall, shut, err := g.o.Open(ctx, s)
	if err != nil {
		return err
	}
	defer shut() //nolint:errcheck // only sockets
	heard, err := g.listen(firewall)
	if err != nil {
		return err
	}
	changed, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- heard.Run(func(e watch.Event) {
			select {
			case changed <- e.Who():
			default: // there will be a look anyway
			}
		})
	}()
	defer func() {
		heard.Close()
		<-ended //nolint:errcheck // it was closed
	}()
	over := ended // nil once it has said so
	poll := time.NewTicker(watch.FirewallPollEvery)
	defer poll.Stop()
	r := restorer{firewall: firewall, rows: rows, log: g.o.Logger}
	if r.isTorn(ctx) { // it was before anybody looked
		r.restore(ctx, "")
	}
	for {
		select {
		case who := <-changed:
			r.restore(ctx, who)
		case <-poll.C:
			if p, ok := firewall.(watch.Poller); ok {
				if lost, err := p.Poll(ctx); err == nil && lost {
					r.restore(ctx, "")
				}
			}
		case err := <-over:
			ended <- nil
			if over = nil; err != nil { // else there is nothing to hear
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// listen hears what changes in the firewall's tables.
func (g *Guard) listen(firewall kernel.Firewall) (heard *watch.Watch, err error) {
	o := watch.Options{NoRoute: true}
	if n, ok := firewall.(watch.Notifier); ok {
		o.Own, o.Tables = n.Ports(), n.Tables()
	}
	if c, ok := firewall.(watch.Commander); ok {
		o.Mine = c.Ran
	}
	err = g.o.Enter(func() error {
		heard, err = watch.Open(o)
		return err
	})
	return heard, err
}

// restorer makes a firewall as rows say.
type restorer struct {
	firewall kernel.Firewall
	rows     []desired.Row
	log      *slog.Logger
	pause    limits.Pause
}

// isTorn tells whether more than what a killed daemon may have left undone differs.
func (r *restorer) isTorn(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	report, err := r.firewall.Check(ctx, r.rows)
	if err != nil {
		r.log.Warn("the firewall cannot be read", "op", "keeper.guard", "err", err)
	}
	return err == nil && report.Torn
}

// restore looks at the firewall, once the pause is over, and puts right what differs.
// What fails is tried again with the next change.
func (r *restorer) restore(ctx context.Context, who string) {
	select {
	case <-time.After(time.Until(r.pause.Until())):
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	began := time.Now()
	report, err := r.firewall.Resync(ctx, r.rows)
	took := time.Since(began)
	if err != nil && ctx.Err() == nil {
		r.log.Warn("the firewall cannot be restored", "op", "keeper.guard", "err", err)
	}
	if len(report.Drift) == 0 {
		r.pause.Whole(time.Now(), took)
		return
	}
	r.pause.Lost(time.Now())
	r.log.Warn("restored the firewall, while there is no daemon", "op", "keeper.guard", "what", report.Drift[0], "differences", len(report.Drift), "who", who, "took", took)
}
