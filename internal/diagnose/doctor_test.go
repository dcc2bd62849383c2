package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// sound is a host on which nothing is wrong.
func sound() evidence.Host {
	blue := evidence.Network{Name: "blue", Device: "br-blue", Subnets: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24"), netip.MustParsePrefix("fd00:8::/64")}}
	return evidence.Host{
		Root: true, Kernel: "6.1.0", Cgroup: "2", Controllers: []string{"cpu", "memory", "pids"}, Lacks: map[string]string{}, Failed: map[string]string{},
		Settings: map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", "net/ipv4/neigh/default/gc_thresh3": "1024"},
		Daemon:   evidence.Daemon{Runs: true, Version: "1", Pid: 7, Backend: "nftables", Networks: []evidence.Network{blue}, Ways: []evidence.Way{{What: "port 80/tcp of container web from outside", Verdict: evidence.Verdict{Outcome: string(facts.OutcomeAccepted)}}}},
		Programs: map[string]bool{"containerd": true, "runc": true}, Runtime: evidence.Service{Socket: "/x", There: true},
		Links:     []evidence.Link{{Name: "eth0", MTU: 1500}, {Name: "br-blue", Kind: "bridge", MTU: 1500}},
		Routes:    []evidence.HostRoute{{Link: "eth0", Gateway: addr("192.0.2.1")}, {Destination: netip.MustParsePrefix("192.0.2.0/24"), Link: "eth0"}, {Destination: netip.MustParsePrefix("10.8.0.0/24"), Link: "br-blue"}},
		Chains:    []evidence.Chain{{Table: "ip filter", Name: "FORWARD", Hook: "forward", Drops: true, Accepts: true}, {Table: "inet own", Name: "in", Hook: "input", Drops: true}},
		Resolvers: []evidence.NameServer{{Server: addr("192.0.2.53"), Answer: evidence.NoName}}, Connections: evidence.Connections{Count: 1, Max: 100},
		Descriptors: []evidence.Descriptors{{Who: "linkspand", Open: 10, Limit: 1000}}, Disks: []evidence.Disk{{Path: "/var", Free: 50 << 30, Size: 100 << 30, InodesFree: 10, InodesTotal: 20}},
		Clock: evidence.Clock{Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Synchronised: true},
	}
}

// withPeer adds another host of the swarm, with one thing changed.
func withPeer(change func(p *evidence.Peer)) func(h *evidence.Host) {
	return func(h *evidence.Host) {
		p := evidence.Peer{Addr: addr("192.0.2.12"), Networks: []string{"back"}, Largest: 1500, MTU: 1500, Route: evidence.Route{Link: "eth0"}, Probe: evidence.Probe{Result: evidence.ProbeConnected}}
		change(&p)
		h.Daemon.Peers = []evidence.Peer{p}
	}
}

// TestDoctor changes one thing on a sound host, and expects exactly that to be found.
func TestDoctor(t *testing.T) {
	drops := evidence.Verdict{Outcome: string(facts.OutcomeDropped), Decides: "rule x"}
	for name, c := range map[string]struct {
		change func(h *evidence.Host)
		status Status
		want   string
		mend   string
	}{
		"veth":           {func(h *evidence.Host) { h.Lacks["veth"] = "not supported" }, Wrong, "no links of kind veth: not supported", "modprobe veth"},
		"ipvlan":         {func(h *evidence.Host) { h.Lacks["ipvlan"] = "not supported" }, Note, "no links of kind ipvlan", "modprobe ipvlan"},
		"vlan":           {func(h *evidence.Host) { h.Lacks["vlan"] = "not supported" }, Note, "no links of kind vlan", "modprobe 8021q"},
		"no conntrack":   {func(h *evidence.Host) { h.Connections.Max = 0 }, Wrong, "does not track connections", "modprobe nf_conntrack"},
		"foreign policy": {func(h *evidence.Host) { h.Chains[0].Accepts = false }, Note, "chain FORWARD of ip filter drops what is forwarded", "br-*"},
		"controllers":    {func(h *evidence.Host) { h.Controllers = []string{"cpu", "pids"} }, Note, "no controller memory", "cgroup_enable=memory"},
		"runc":           {func(h *evidence.Host) { h.Programs["runc"] = false }, Wrong, "program runc is not in PATH", "runc"},
		"containerd":     {func(h *evidence.Host) { h.Runtime.Err = "refused" }, Wrong, "containerd does not answer at /x: refused", "restart containerd"},
		"no daemon":      {func(h *evidence.Host) { h.Daemon = evidence.Daemon{Err: "nobody listens"} }, Wrong, "linkspand cannot be asked: nobody listens", "systemctl start"},
		"drift":          {func(h *evidence.Host) { h.Daemon.Drift = []string{"link br-blue: missing"} }, Wrong, "link br-blue: missing", "network repair"},
		"forwarding":     {func(h *evidence.Host) { h.Settings["net/ipv4/ip_forward"] = "0" }, Wrong, "net.ipv4.ip_forward is 0", "sysctl -w net.ipv4.ip_forward=1"},
		"forwarding 6":   {func(h *evidence.Host) { h.Settings["net/ipv6/conf/all/forwarding"] = "0" }, Wrong, "net.ipv6.conf.all.forwarding is 0", "sysctl"},
		"a foreign drop": {func(h *evidence.Host) { h.Daemon.Ways[0].Verdict = drops }, Wrong, "port 80/tcp of container web from outside: rule x drops it", "accept it there"},
		"our drop":       {func(h *evidence.Host) { drops := drops; drops.Ours = true; h.Daemon.Ways[0].Verdict = drops }, Note, "rule x drops it", ""},
		"unreachable":    {func(h *evidence.Host) { h.Daemon.Ways[0].Verdict.Outcome = string(facts.OutcomeUnreachable) }, Wrong, "this host has no route", "ip route"},
		"doubt":          {func(h *evidence.Host) { h.Daemon.Ways[0].Verdict.Outcome = string(facts.OutcomeUnknown) }, Unknown, "cannot be told", ""},
		"narrow route": {func(h *evidence.Host) {
			h.Routes = append(h.Routes, evidence.HostRoute{Destination: netip.MustParsePrefix("10.8.0.128/25"), Link: "tun0"})
		}, Wrong, "route 10.8.0.128/25 dev tun0 takes addresses of network blue (10.8.0.0/24)", "--subnet"},
		"wide route": {func(h *evidence.Host) {
			h.Routes = append(h.Routes, evidence.HostRoute{Destination: netip.MustParsePrefix("10.0.0.0/8"), Link: "tun0", Gateway: addr("192.0.2.7")})
		}, Note, "network blue (10.8.0.0/24) hides a part of what is reached by route 10.0.0.0/8 via 192.0.2.7 dev tun0", "--subnet"},
		"small uplink": {func(h *evidence.Host) { h.Links[0].MTU = 1400 }, Note, "network blue may be larger (1500 bytes) than eth0 takes (1400)", "mtu=1400"},
		"no default":   {func(h *evidence.Host) { h.Routes = h.Routes[1:] }, Note, "no default route", "ip route"},
		"claimed": {func(h *evidence.Host) {
			h.Daemon.Claimed = []evidence.Claimed{{Container: "web", Protocol: model.TCP, At: netip.MustParseAddrPort("0.0.0.0:80"), Holder: "process nginx, pid 1"}}
		}, Wrong, "port 0.0.0.0:80/tcp, which container web will want, is held by process nginx", "end that"},
		"between ours": {func(h *evidence.Host) {
			h.Daemon.Claimed = []evidence.Claimed{{Container: "web", Protocol: model.TCP, At: netip.MustParseAddrPort("0.0.0.0:80"), Holder: "container b"}}
		}, Note, "held by container b", "end that"},
		"lost peer":    {withPeer(func(p *evidence.Peer) { p.Route.Err = "network is unreachable" }), Wrong, "no route to host 192.0.2.12 (on back): network is unreachable", "ip route"},
		"small way":    {withPeer(func(p *evidence.Peer) { p.MTU = 1400 }), Wrong, "have up to 1500 bytes, and eth0 takes 1400", "MTU of eth0"},
		"dead peer":    {withPeer(func(p *evidence.Peer) { p.Hop.State = "failed" }), Wrong, "192.0.2.12 (on back) cannot be reached", "docker node ls"},
		"silent peer":  {withPeer(func(p *evidence.Peer) { p.Probe.Result = evidence.ProbeSilent }), Note, "does not answer an echo request", "4789/udp"},
		"descriptors":  {func(h *evidence.Host) { h.Descriptors[0].Open = 900 }, Wrong, "linkspand has 900 of 1000 files open", "LimitNOFILE"},
		"no servers":   {func(h *evidence.Host) { h.Resolvers = nil }, Note, "names no name server", "/etc/resolv.conf"},
		"dead servers": {func(h *evidence.Host) { h.Resolvers[0].Answer = evidence.Silent }, Wrong, "name server 192.0.2.53 does not answer", "/etc/resolv.conf"},
		"a dead server": {func(h *evidence.Host) {
			h.Resolvers = append(h.Resolvers, evidence.NameServer{Server: addr("192.0.2.54"), Answer: evidence.Silent})
		}, Note, "name server 192.0.2.54 does not answer", "/etc/resolv.conf"},
		"full":        {func(h *evidence.Host) { h.Connections.Count = 100 }, Wrong, "connections is full (100 of 100)", "nf_conntrack_max=200"},
		"nearly full": {func(h *evidence.Host) { h.Connections.Count = 91 }, Note, "nearly full: 91 of 100", "nf_conntrack_max"},
		"neighbours":  {func(h *evidence.Host) { h.Neighbours = 1000 }, Wrong, "neighbours is full (1000 of 1024)", "gc_thresh3=4096"},
		"leftovers": {func(h *evidence.Host) {
			h.Leftovers = []evidence.Leftover{{What: "interface docker0", Of: "a dockerd", Mend: "ip link del docker0"}}
		}, Note, "interface docker0 is left of a dockerd", "ip link del docker0"},
		"read-only":     {func(h *evidence.Host) { h.Disks[0].ReadOnly = true }, Wrong, "/var is read-only", "remount"},
		"full disk":     {func(h *evidence.Host) { h.Disks[0].Free = 1 << 20 }, Wrong, "/var is full: 1 MB of 102400", "prune"},
		"no inodes":     {func(h *evidence.Host) { h.Disks[0].InodesFree = 0 }, Wrong, "0 inodes of 20 are free", "prune"},
		"filling disk":  {func(h *evidence.Host) { h.Disks[0].Free = 4 << 30 }, Note, "/var is nearly full", "prune"},
		"no disk":       {func(h *evidence.Host) { h.Disks[0].Err = "gone" }, Unknown, "/var: gone", ""},
		"old clock":     {func(h *evidence.Host) { h.Clock.Now = time.Unix(0, 0) }, Wrong, "the clock says 1970-01-01", "timedatectl"},
		"free clock":    {func(h *evidence.Host) { h.Clock.Synchronised = false }, Note, "nobody keeps the clock", "timedatectl"},
		"a failed look": {func(h *evidence.Host) { h.Failed["rules"] = "denied" }, Unknown, "could not be looked at: denied", ""},
	} {
		h := sound()
		c.change(&h)
		var odd []Finding
		for _, f := range Doctor(h) {
			if f.Status != OK {
				odd = append(odd, f)
			}
		}
		if len(odd) != 1 || odd[0].Status != c.status || !strings.Contains(odd[0].Found, c.want) || !strings.Contains(odd[0].Mend, c.mend) {
			t.Errorf("%s: %+v, want %s: %s -> %s", name, odd, c.status, c.want, c.mend)
		}
	}
}

// TestFailedLooks: a check whose look failed says so, and nothing else; all others say what they say otherwise.
func TestFailedLooks(t *testing.T) {
	for _, what := range []string{"rules", "kernel features", "links and routes", "drift"} {
		h := sound()
		h.Failed[what] = "denied"
		all, failed := Doctor(h), map[string]bool{}
		for _, f := range all {
			if f.Status == Unknown && f.Found == "could not be looked at: denied" {
				failed[f.Check] = true
			}
		}
		for _, f := range all {
			if failed[f.Check] && f.Status != Unknown {
				t.Errorf("%s failed: %+v", what, f)
			}
		}
		if len(failed) == 0 || len(all) != len(Doctor(sound())) {
			t.Errorf("%s failed: only %v say so, in %d findings", what, failed, len(all))
		}
	}
}

// TestDoctorTree: a host on which nothing is wrong has every check once; what follows from a
// parent that is wrong is not said.
func TestDoctorTree(t *testing.T) {
	all := Doctor(sound())
	if !Healthy(all) || len(all) < 18 {
		t.Errorf("%d findings: %+v", len(all), all)
	}
	h := sound()
	h.Daemon = evidence.Daemon{Err: "away", Drift: []string{"x"}}
	h.Descriptors[0].Open = 1000
	less := Doctor(h)
	if Healthy(less) || slices.ContainsFunc(less, func(f Finding) bool { return f.Check == "drift" || f.Check == "descriptors" }) {
		t.Errorf("%+v", less)
	}
}
