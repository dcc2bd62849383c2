package investigate

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// DefaultDataRoot is where a daemon that cannot be asked has its data.
const DefaultDataRoot = "/var/lib/linkspan"

// What doctor asks at most: containers that run on one network are much alike.
const (
	maxWays    = 32
	maxClaimed = 64
	maxPeers   = 32
)

// outside is an address of another machine, as good as any (RFC 5737).
const outside = "192.0.2.1:443/tcp"

// Host gathers evidence of the host as a whole. It works without a daemon, which is then
// said to be away.
func (i Investigator) Host(ctx context.Context) evidence.Host {
	state, err := i.Daemon.State(ctx)
	root := state.Daemon.DataRoot
	if root == "" {
		root = DefaultDataRoot
	}
	h := i.Surveyor.Host(ctx, root, state.Daemon.Instance)
	if err != nil {
		h.Daemon.Err, _, _ = strings.Cut(err.Error(), "\n") // what else there is to do doctor says itself
		return h
	}
	d := state.Daemon
	h.Daemon = evidence.Daemon{Runs: true, Version: d.Version, Pid: d.Pid, Backend: d.FirewallBackend}
	for _, n := range state.Networks {
		one := evidence.Network{Name: n.Name, Device: n.Device, Internal: n.Internal}
		for _, s := range n.Subnets {
			one.Subnets = append(one.Subnets, s.Subnet)
		}
		h.Daemon.Networks = append(h.Daemon.Networks, one)
	}
	if drift, err := i.Daemon.Diff(ctx); err != nil {
		h.Failed["drift"] = err.Error()
	} else {
		h.Daemon.Drift = drift.Differences
	}
	h.Daemon.Ways = i.ways(ctx, state)
	h.Daemon.Claimed = i.claimed(ctx, state)
	h.Daemon.Peers = i.peers(ctx, state)
	if open, err := i.Surveyor.Descriptors("linkspand", d.Pid); err == nil {
		h.Descriptors = append(h.Descriptors, open)
	}
	return h
}

// ways asks what rules make of packets of one container of each network, and to published
// ports.
func (i Investigator) ways(ctx context.Context, state privateapi.State) (out []evidence.Way) {
	ask := func(what, target, from, to string) {
		if len(out) >= maxWays {
			return
		}
		answer, err := i.Daemon.Explain(ctx, target, from, to)
		if err == nil {
			out = append(out, evidence.Way{What: what, Verdict: VerdictOf(answer)})
		}
	}
	done := map[string]bool{}
	for _, c := range state.Containers {
		for _, m := range c.Networks {
			n := networkOf(state, m.NetworkID)
			if !m.Up || n.Device == "" || n.Internal || done[m.NetworkID] || len(m.Addresses) == 0 || !m.Addresses[0].Address.Addr().Is4() {
				continue
			}
			done[m.NetworkID] = true
			ask(fmt.Sprintf("container %s on network %s to the outside", c.Name, m.Network), outside, m.Addresses[0].Address.Addr().String(), "")
		}
	}
	for _, c := range state.Containers {
		for _, b := range c.Ports {
			port := fmt.Sprintf("%d/%s", b.HostPort, b.Protocol)
			if !c.Up || b.HostPort == 0 || b.Host.IsLoopback() || done[port] {
				continue
			}
			done[port] = true
			to := ""
			if b.Host.IsValid() && !b.Host.IsUnspecified() {
				to = b.Host.String()
			}
			ask(fmt.Sprintf("port %s of container %s from outside", port, c.Name), port, "", to)
		}
	}
	return out
}

// peers looks at the ways to the other hosts on networks of this one, all at once.
func (i Investigator) peers(ctx context.Context, state privateapi.State) []evidence.Peer {
	at := map[netip.Addr]*evidence.Peer{}
	for _, n := range state.Networks {
		for _, a := range n.Peers {
			if at[a] == nil {
				at[a] = &evidence.Peer{Addr: a}
			}
			at[a].Networks = append(at[a].Networks, n.Name)
			at[a].Largest = max(at[a].Largest, n.Largest)
		}
	}
	addrs := slices.SortedFunc(maps.Keys(at), netip.Addr.Compare)
	out := make([]evidence.Peer, min(len(addrs), maxPeers))
	var wait sync.WaitGroup
	for k := range out {
		out[k] = *at[addrs[k]]
		wait.Go(func() { i.wayTo(ctx, &out[k]) })
	}
	wait.Wait()
	return out
}

func (i Investigator) wayTo(ctx context.Context, p *evidence.Peer) {
	p.Probe = i.Surveyor.Probe(ctx, evidence.ProbeQuestion{To: netip.AddrPortFrom(p.Addr, 0), Timeout: i.patience()})
	v, err := i.Surveyor.View(ctx, evidence.ViewQuestion{To: p.Addr})
	if err != nil {
		return
	}
	p.Route, p.Hop, p.MTU = v.Route, v.Hop, v.Route.MTU
	if l, ok := v.Link(v.Route.Link); ok && p.MTU == 0 {
		p.MTU = l.MTU
	}
}

func networkOf(state privateapi.State, id string) privateapi.Network {
	i := slices.IndexFunc(state.Networks, func(n privateapi.Network) bool { return n.ID == id })
	if i < 0 {
		return privateapi.Network{}
	}
	return state.Networks[i]
}

// claimed asks who has the ports that containers which do not run will want.
func (i Investigator) claimed(ctx context.Context, state privateapi.State) (out []evidence.Claimed) {
	asked := 0
	for _, c := range state.Containers {
		for _, b := range c.Ports {
			if c.Up || b.HostPort == 0 || asked == maxClaimed {
				continue
			}
			asked++
			users, err := i.Daemon.PortUsers(ctx, strconv.Itoa(int(b.HostPort)))
			if err != nil {
				continue
			}
			if holder := holderOf(users, c.ID, model.Protocol(b.Protocol), b.Host); holder != "" {
				out = append(out, evidence.Claimed{Container: c.Name, Protocol: model.Protocol(b.Protocol), At: netip.AddrPortFrom(b.Host, b.HostPort), Holder: holder})
			}
		}
	}
	return out
}

// holderOf is who else has a port now; empty: nobody has.
func holderOf(users []privateapi.PortUser, id string, protocol model.Protocol, host netip.Addr) string {
	for _, u := range users {
		a := u.At.Addr()
		clash := !host.IsValid() || a == host || a.IsUnspecified() || host.IsUnspecified() && a.Is4() == host.Is4()
		if !u.Running || u.Protocol != protocol || u.ID == id || !clash {
			continue
		}
		switch {
		case u.Container != "":
			return "container " + u.Container
		case u.Who != "":
			return u.Who
		}
		return "the kernel, or a process that cannot be seen"
	}
	return ""
}
