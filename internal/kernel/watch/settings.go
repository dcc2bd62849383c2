package watch

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/sysctl"
)

// Most settings send no notification when they are changed, so they are read again and
// again.
const (
	pollEvery = 250 * time.Millisecond
	// maxHeld bounds the settings that are read each time, through descriptors that stay
	// open. Those of the host and of networks come first. Of the others maxTurn are read,
	// others each time.
	maxHeld = 512
	maxTurn = 64
	// listShare bounds what listing them costs where there are many: of so many parts of
	// the time one.
	listShare = 50
	// FirewallPollEvery is for tables that send no notifications.
	FirewallPollEvery = 500 * time.Millisecond
)

// setting is a setting that is wanted.
type setting struct {
	path, value string
	owner       desired.Owner
}

// settings are those of the host's namespace, and how many of them are of the host or of
// networks: those are first.
func settings(want desired.State) (out []setting, first int) {
	for o := range want.Kind(desired.KindSysctl) {
		if row := o.Row.(desired.Sysctl); row.Namespace == desired.HostNamespace {
			out = append(out, setting{row.Path, row.Value, o.Owner})
		}
	}
	for o := range want.Kind(desired.KindFence) {
		if row := o.Row.(desired.Fence); row.Localhost && row.Space() == desired.HostNamespace {
			out = append(out, setting{sysctl.RouteLocalnet(row.Link), "1", o.Owner})
		}
	}
	slices.SortStableFunc(out, func(a, b setting) int { return rankOf(a) - rankOf(b) })
	return out, ports(out)
}

// ports is where the settings of ports begin.
func ports(sorted []setting) int {
	if i := slices.IndexFunc(sorted, func(s setting) bool { return rankOf(s) == rankPort }); i >= 0 {
		return i
	}
	return len(sorted)
}

// What is read first where not all is read each time.
const (
	rankHost = iota
	rankNetwork
	rankPort
)

func rankOf(s setting) int {
	switch {
	case s.owner == desired.HostOwner:
		return rankHost
	case strings.HasPrefix(string(s.owner), "endpoint/"):
		return rankPort
	}
	return rankNetwork
}

// poller reads settings.
type poller struct {
	*watcher
	list  []setting
	first int // of the list, how many are read each time
	turn  int // of the others, where the next turn begins
	held  map[string]*sysctl.Held
	hosts forwarding
}

// pollSettings reads settings until ctx ends.
func (w *watcher) pollSettings(ctx context.Context) {
	p := &poller{watcher: w, held: map[string]*sysctl.Held{}, hosts: forwarding{off: map[string]time.Time{}}}
	defer p.hold(nil)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var of desired.State
	var listed time.Time // not before
	for {
		if want := w.wanted(); want != of && !time.Now().Before(listed) {
			began := time.Now()
			p.list, p.first = settings(want)
			of, listed = want, time.Now().Add(listShare*time.Since(began))
		}
		p.read(ctx, p.part())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// part returns what is read this time.
func (p *poller) part() []setting {
	if len(p.list) <= maxHeld {
		return p.list
	}
	first := min(p.first, maxHeld-maxTurn)
	rest := p.list[first:]
	if p.turn >= len(rest) {
		p.turn = 0
	}
	turn := rest[p.turn:min(p.turn+maxTurn, len(rest))]
	p.turn += maxTurn
	return slices.Concat(p.list[:first], turn)
}

// hold closes all descriptors but those of a list.
func (p *poller) hold(list []setting) {
	keep := make(map[string]bool, len(list))
	for _, s := range list {
		keep[s.path] = true
	}
	for path, h := range p.held {
		if !keep[path] {
			h.Close()
			delete(p.held, path)
		}
	}
}

// read compares each setting. One that cannot be read belongs to a link that is gone, of
// which there was a notification.
func (p *poller) read(ctx context.Context, list []setting) {
	if len(p.held) > len(list) || len(p.list) > maxHeld {
		p.hold(list)
	}
	if err := p.open(ctx, list); err != nil && ctx.Err() == nil {
		p.Logger.Debug("settings are not read", "op", "kernel.watch", "err", err)
	}
	for _, s := range list { // the host's come first
		h := p.held[s.path]
		if h == nil {
			continue
		}
		is, err := h.Read()
		if err != nil {
			h.Close()
			delete(p.held, s.path)
			continue
		}
		p.compare(s, is, time.Now())
	}
}

// compare has what is not as wanted looked at.
func (p *poller) compare(s setting, is string, now time.Time) {
	if p.hosts.note(s, is, now) && p.ForwardingGrace > 0 {
		p.Logger.Warn("somebody else has switched forwarding off: containers reach nothing outside the host until it is put back, at once by linkspan network repair",
			"op", "kernel.watch", "what", s.path, "pause", p.ForwardingGrace)
	}
	if !sysctl.Same(is, s.value) && !p.hosts.waits(s.path, now, p.ForwardingGrace) {
		p.suspect(s.owner, "")
	}
}

// open opens those that are not open yet.
func (p *poller) open(ctx context.Context, list []setting) error {
	missing := slices.DeleteFunc(slices.Clone(list), func(s setting) bool { return p.held[s.path] != nil })
	if len(missing) == 0 {
		return nil
	}
	return p.Enter(ctx, func() error {
		tree := p.Sysctls.Open()
		defer tree.Close()
		for _, s := range missing {
			if h, err := tree.Hold(s.path); err == nil {
				p.held[s.path] = h
			}
		}
		return nil
	})
}

// pollFirewall asks a firewall whose tables send no notifications.
func (w *watcher) pollFirewall(ctx context.Context, p Poller) {
	tick := time.NewTicker(FirewallPollEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if lost, err := p.Poll(ctx); err != nil {
			w.Logger.Debug("the firewall is not read", "op", "kernel.watch", "err", err)
		} else if lost {
			w.suspect(desired.Firewall, "")
		}
	}
}

// tcIndex reads the interface of a struct tcmsg (linux/rtnetlink.h).
func tcIndex(body []byte) (index int, ok bool) {
	const headerLen = 20
	if len(body) < headerLen {
		return 0, false
	}
	return int(int32(binary.NativeEndian.Uint32(body[4:]))), true
}
