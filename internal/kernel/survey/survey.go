// Package survey looks at a host, and into network namespaces on it, for somebody who asks
// what is wrong there: links, addresses, routes, neighbours, settings, sockets, rules; and it
// makes the attempts that tell most, one connection or one query.
//
//	question ─▶ Surveyor ─▶ evidence.View, Probe, NameServer, Host
//
// It changes nothing, except that what it sends is seen by whom it is sent to, and that a
// kernel learns neighbours by it. What it tries out of the kernel's features it tries in a
// namespace that is gone when it returns. It judges nothing.
package survey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/explain"
	"github.com/linkspan/linkspan/internal/kernel/netns"
)

// Options are what a Surveyor needs besides.
type Options struct {
	// Listeners says who waits at a port of the calling thread's namespace, by TCP or UDP;
	// nil: that is not known.
	Listeners func(ctx context.Context, port uint16) ([]facts.Listener, error)
}

// Surveyor looks. Its methods may be called concurrently.
type Surveyor struct {
	o    Options
	dir  *netns.Dir
	root string // of the file systems that it reads
}

// New returns a Surveyor, for the namespace of this process. The caller closes it.
func New(o Options) *Surveyor {
	return &Surveyor{o: o, dir: netns.New(netns.Options{}), root: "/"}
}

// Close ends it.
func (s *Surveyor) Close() { s.dir.Close() }

// enter runs f in a namespace, and hands it the namespace's descriptor; 0 where it is the
// surveyor's own.
func (s *Surveyor) enter(ctx context.Context, path string, f func(fd int) error) error {
	if path == "" {
		return f(0) // nobody who calls is away
	}
	file, _, err := netns.Look(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return s.dir.Enter(ctx, file, func() error { return f(int(file.Fd())) })
}

// View looks into a namespace. What is missing there is missing in the view; the error is
// for a namespace that cannot be entered, or does not tell its links.
func (s *Surveyor) View(ctx context.Context, q evidence.ViewQuestion) (v evidence.View, err error) {
	v.AddrsOn, v.Settings = map[netip.Addr]string{}, map[string]string{}
	err = s.enter(ctx, q.Namespace, func(fd int) error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_INET_DIAG)
		if err != nil {
			return err
		}
		defer h.Close()
		if err := links(h, &v); err != nil {
			return err
		}
		way(h, q, &v)
		s.settings(q.Settings, v.Settings)
		if q.Sockets {
			v.Sockets = s.sockets(ctx, h, q.Port)
		}
		if q.Rules {
			v.Rules = rules(ctx, fd, q)
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("look into network namespace %s: %w", q.Namespace, err)
	}
	return v, err
}

// links adds the interfaces and addresses of the thread's namespace.
func links(h *netlink.Handle, v *evidence.View) error {
	all, err := h.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	names := map[int]string{}
	for _, l := range all {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range all {
		a := l.Attrs()
		one := evidence.Link{
			Name: a.Name, Kind: l.Type(), Index: a.Index, MTU: a.MTU, MAC: a.HardwareAddr.String(), Alias: a.Alias, Master: names[a.MasterIndex],
			Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0, NoARP: a.RawFlags&unix.IFF_NOARP != 0,
		}
		v.Links = append(v.Links, one)
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		v.Addrs = append(v.Addrs, netip.PrefixFrom(ip.Unmap(), bits))
		v.AddrsOn[ip.Unmap()] = names[a.LinkIndex]
	}
	return nil
}

// way adds the route, and the neighbour that it leads to.
func way(h *netlink.Handle, q evidence.ViewQuestion, v *evidence.View) {
	if !q.To.IsValid() {
		return
	}
	o := &netlink.RouteGetOptions{}
	if q.From.IsValid() {
		o.SrcAddr = net.IP(q.From.AsSlice())
	}
	r, err := h.RouteGetWithOptions(net.IP(q.To.AsSlice()), o)
	if err == nil && len(r) == 0 {
		err = unix.ENETUNREACH
	}
	if err != nil {
		v.Route.Err = errno(err)
		return
	}
	one := r[0]
	v.Route = evidence.Route{Hop: q.To, MTU: one.MTU, Local: one.Type == unix.RTN_LOCAL}
	v.Route.Source, _ = netip.AddrFromSlice(one.Src)
	v.Route.Source = v.Route.Source.Unmap()
	if gateway, ok := netip.AddrFromSlice(one.Gw); ok {
		v.Route.Hop = gateway.Unmap()
	}
	for _, l := range v.Links {
		if l.Index == one.LinkIndex {
			v.Route.Link = l.Name
		}
	}
	if !v.Route.Local {
		v.Hop = neighbour(h, one.LinkIndex, v.Route.Hop)
	}
}

// errno is the kernel's words alone.
func errno(err error) string {
	var number unix.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	return err.Error()
}

func neighbour(h *netlink.Handle, link int, hop netip.Addr) evidence.Neighbour {
	out := evidence.Neighbour{Addr: hop}
	all, err := h.NeighList(link, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return out
	}
	for _, n := range all {
		if ip, _ := netip.AddrFromSlice(n.IP); ip.Unmap() == hop {
			out.MAC, out.State = n.HardwareAddr.String(), stateText(n.State)
		}
	}
	return out
}

// stateText is a neighbour's state as ip-neighbour(8) names it.
func stateText(state int) string {
	for bit, text := range map[int]string{
		unix.NUD_INCOMPLETE: "incomplete", unix.NUD_REACHABLE: "reachable", unix.NUD_STALE: "stale", unix.NUD_DELAY: "delay",
		unix.NUD_PROBE: "probe", unix.NUD_FAILED: "failed", unix.NUD_NOARP: "noarp", unix.NUD_PERMANENT: "permanent",
	} {
		if state&bit != 0 {
			return text
		}
	}
	return ""
}

// settings reads what is asked for of /proc/sys, of the thread's namespace.
func (s *Surveyor) settings(paths []string, into map[string]string) {
	for _, path := range paths {
		if !fs.ValidPath(path) {
			continue
		}
		if text, err := os.ReadFile(filepath.Join(s.root, "proc/sys", path)); err == nil {
			into[path] = strings.Join(strings.Fields(string(text)), " ")
		}
	}
}

// rules asks what the rules of a namespace make of the packet. Those of the surveyor's own
// are not asked: there the daemon knows more.
func rules(ctx context.Context, fd int, q evidence.ViewQuestion) evidence.Verdict {
	if fd == 0 || !q.From.IsValid() || !q.To.IsValid() {
		return evidence.Verdict{}
	}
	from, to := q.From, q.To
	if q.Arriving {
		from, to = to, from // the view is of the way back
	}
	t, err := explain.New(explain.Options{NetNS: fd}).Explain(ctx, facts.TracePacket{From: from, To: netip.AddrPortFrom(to, q.Port), Protocol: q.Protocol}, nil)
	if err != nil {
		return evidence.Verdict{Asked: true, Err: err.Error()}
	}
	out := evidence.Verdict{Asked: true, Outcome: string(t.Outcome), In: t.In, Out: t.Out, From: t.From, To: t.To}
	for _, step := range t.Steps {
		if step.Decides || out.Decides == "" && step.Doubt != "" {
			out.Decides, out.Ours = ruleText(step), step.Ours
		}
	}
	return out
}

// ruleText is a rule, and where it is.
func ruleText(s facts.TraceStep) string {
	if s.Table == "" {
		return s.Verdict
	}
	text := s.Rule
	if text == "" {
		text = "policy " + s.Verdict
	}
	return fmt.Sprintf("%s, chain %s: %s", s.Table, s.Chain, text)
}
