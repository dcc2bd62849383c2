// Package kernel makes the Linux kernel as a desired.State says: it is the only
// code that changes it. Apply follows differences, Resync compares everything of
// ours with what is there; both may be repeated at will, and what is as wanted
// is never written.
//
// It must not decide anything: rows say what, and the order is
// desired.Kinds. It must not touch what does not bear one of the marks
// that the folders below declare ("Ours: …").
//
//	deltas ──▶ pass ──step by step──▶ namespaces.go links.go … neighs.go ──▶ netns link … neigh ──▶ rtnl ──▶ kernel
//	                                  policies.go ──▶ nft; connections.go ──▶ conntrack
package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/announce"
	"github.com/linkspan/linkspan/internal/kernel/conntrack"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/part"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/kernel/sysctl"
	"github.com/linkspan/linkspan/internal/kernel/watch"
	"github.com/linkspan/linkspan/internal/resolvconf"
)

// Options are what a Kernel needs to know.
type Options struct {
	Instance string // marks objects as this engine's; must not be empty
	Logger   *slog.Logger
	NetnsDir string // directory of named namespaces; netns.DefaultDir if empty
	Firewall Firewall
	Balancer Balancer
	// HostNetns is the file of the namespace that rows call the host's; the
	// process's own if empty.
	HostNetns string
	// ResolvConf is the host's resolv.conf(5); /etc/resolv.conf if empty.
	ResolvConf string
	// Census says which processes live in which namespace; netns.TakeCensus if nil.
	// Tests have processes without a container.
	Census func() netns.Census
	// ForwardingGrace is how long a host whose forwarding others switched off as a whole is
	// left so: watch.DefaultForwardingGrace if 0.
	ForwardingGrace time.Duration
	// GiveBack, if set, removes what others than a Kernel have made in a namespace that goes
	// back to its maker. It is called inside.
	GiveBack func() error
	// Reached, if set, is called when Apply has gone through a stage: "nft", the
	// name of a step ("namespaces", "links" ...), or "removals". It serves tests
	// that stop the process there.
	Reached func(stage string)
}

// Firewall makes policies so. Its deltas and rows are those of
// desired.KindPolicy; its errors follow the rules of Kernel's. It may also be a
// watch.Notifier or a watch.Poller.
type Firewall interface {
	Apply(ctx context.Context, deltas []desired.Delta) error
	Resync(ctx context.Context, want []desired.Row) (desired.Report, error)
	Check(ctx context.Context, want []desired.Row) (desired.Report, error)
	// Traffic reads the counters of published ports.
	Traffic(ctx context.Context) ([]facts.PortTraffic, error)
	// Drops reads the counters of port security.
	Drops(ctx context.Context) ([]facts.PortDrops, error)
}

// Kernel is the kernel of one network namespace and of the named ones below it.
type Kernel struct {
	instance   string
	log        *slog.Logger
	firewall   Firewall
	balancer   Balancer
	resolvConf string
	census     func() netns.Census
	reached    func(stage string)
	grace      time.Duration
	giveBack   func() error
	hostFile   *os.File
	netns      *netns.Dir
	sysctls    sysctl.Source
	flusher    *conntrack.Flusher
	announcer  *announce.Announcer
	writes     atomic.Int64
	unfenced   atomic.Bool // this kernel has no means for fences, and it was said

	idle chan struct{} // holds one token while there is no pass
	host *rtnl.Conn    // belongs to the pass
}

// New opens the host's namespace. It changes nothing.
func New(o Options) (*Kernel, error) {
	if o.Instance == "" || o.Firewall == nil || o.Balancer == nil || o.Logger == nil {
		return nil, errors.New("kernel: options need an instance, a logger, a firewall and a balancer")
	}
	if o.HostNetns == "" {
		o.HostNetns = "/proc/self/ns/net"
	}
	if o.ResolvConf == "" {
		o.ResolvConf = resolvconf.Path
	}
	if o.Census == nil {
		o.Census = netns.TakeCensus
	}
	if o.Reached == nil {
		o.Reached = func(string) {}
	}
	if o.GiveBack == nil {
		o.GiveBack = func() error { return nil }
	}
	if o.ForwardingGrace == 0 {
		o.ForwardingGrace = watch.DefaultForwardingGrace
	}
	file, err := os.Open(o.HostNetns)
	if err != nil {
		return nil, fmt.Errorf("open the host's network namespace: %w", err)
	}
	k := &Kernel{
		instance: o.Instance, log: o.Logger, firewall: o.Firewall, balancer: o.Balancer, resolvConf: o.ResolvConf,
		census: o.Census, reached: o.Reached, grace: o.ForwardingGrace, giveBack: o.GiveBack, hostFile: file, idle: make(chan struct{}, 1),
	}
	k.netns = netns.New(netns.Options{Dir: o.NetnsDir, Host: file, Instance: o.Instance, Logger: o.Logger})
	k.flusher = conntrack.NewFlusher(func(space string, f func() error) error {
		return k.netns.Do(context.Background(), space, f)
	}, o.Logger)
	k.announcer = announce.New(k.netns.Do, o.Logger)
	if k.host, err = k.dial(context.Background(), file); err != nil {
		k.announcer.Close()
		k.flusher.Close()
		k.netns.Close()
		return nil, errors.Join(err, file.Close())
	}
	k.idle <- struct{}{}
	return k, nil
}

// dial opens a conversation with a namespace.
func (k *Kernel) dial(ctx context.Context, namespace *os.File) (conn *rtnl.Conn, err error) {
	err = k.netns.Enter(ctx, namespace, func() (err error) {
		conn, err = rtnl.Open(&k.writes)
		return err
	})
	return conn, err
}

// Close waits for namespaces and connections that are still being removed, and
// gives back what New opened. The Kernel must not be used afterwards.
func (k *Kernel) Close() error {
	<-k.idle
	k.announcer.Close()
	k.flusher.Close()
	k.netns.Close()
	k.sysctls.Close()
	k.host.Close()
	return k.hostFile.Close()
}

// Netns gives access to the named namespaces, for sockets that must live inside
// one.
func (k *Kernel) Netns() *netns.Dir { return k.netns }

// Writes counts the changes made to the kernel so far. Those of the firewall, and
// connections that were forgotten, are not in it.
func (k *Kernel) Writes() int { return int(k.writes.Load()) }

// Apply makes the kernel follow the deltas: additions and changes step by
// step, then removals. Rows that are not the kernel's (names, resolvers) are
// ignored. Ports that are no longer published are closed before anything else.
// What cannot be done is returned as *desired.Failure values joined by
// errors.Join; the rest is done, except that a row whose owner has already
// failed is left to the caller's compensation. An error without a Failure means
// that nothing after it was done. desired.ErrLost among them says that a row had no
// place because something is missing that these deltas do not make.
func (k *Kernel) Apply(ctx context.Context, deltas []desired.Delta) error {
	p, err := k.begin(ctx, deltas)
	if err != nil {
		return err
	}
	defer p.end()
	put, drop := split(deltas)
	closing, rest := part.Closings(drop[desired.KindPolicy], put[desired.KindPolicy])
	put[desired.KindPolicy] = append(closing, put[desired.KindPolicy]...)
	p.putEarly(put)
	if p.isFatal() {
		return p.err()
	}
	for _, s := range p.steps {
		if !s.early {
			p.run(put[s.kind], s.put)
			k.reached(s.name)
		}
	}
	p.dropAll(drop)
	k.reached("removals")
	policies{p}.apply(rest)
	k.flusher.Forget(desired.HostNamespace, conntrack.OfAddrs(drop[desired.KindAddr], put[desired.KindPolicy])) // no packet can make a new one
	err = p.err()
	var taken *desired.NameTaken // then somebody chooses another name, and tries again
	if err != nil && p.lost && !errors.As(err, &taken) {
		return errors.Join(err, fmt.Errorf("apply to the kernel: %w", desired.ErrLost))
	}
	return err
}

// putEarly does what comes first: the policies, and the namespaces. Both take the
// kernel most of a millisecond, and an empty namespace needs no policy, so they
// go side by side.
func (p *pass) putEarly(put map[desired.Kind][]desired.Delta) {
	var beside sync.WaitGroup
	for _, s := range p.steps {
		if s.early {
			beside.Go(func() { p.run(put[s.kind], s.put) })
		}
	}
	policies{p}.apply(put[desired.KindPolicy])
	beside.Wait()
	p.k.reached("nft")
	for _, s := range p.steps {
		if s.early {
			p.k.reached(s.name)
		}
	}
}

// Resync makes the kernel as want says, whatever it was before, and removes what
// is left over of ours. It reports what it found; a second call finds nothing
// and writes nothing. Failures are as for Apply.
func (k *Kernel) Resync(ctx context.Context, want desired.State) (desired.Report, error) {
	return k.compare(ctx, want, false)
}

// Check reports what Resync would do, and writes nothing.
func (k *Kernel) Check(ctx context.Context, want desired.State) (desired.Report, error) {
	return k.compare(ctx, want, true)
}

func (k *Kernel) compare(ctx context.Context, want desired.State, dry bool) (desired.Report, error) {
	p, err := k.begin(ctx, nil)
	if err != nil {
		return desired.Report{}, err
	}
	defer p.end()
	p.repair, p.dry = true, dry
	before := k.Writes()
	report, firewallErr := policies{p}.compare(want, dry)
	p.note(firewallErr)
	p.compare(want)
	if !dry {
		announcements{p}.follow(want)
	}
	report.Drift = append(report.Drift, p.drift...)
	report.Writes += k.Writes() - before
	return report, p.err()
}
