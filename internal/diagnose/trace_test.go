package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// side is a container on network blue, and what is seen inside.
func side(name, address, mac, port string, to string) (evidence.Party, *evidence.View) {
	p := evidence.Party{Kind: evidence.Container, Name: name, State: "running", Namespace: "/run/netns/" + name, Networks: []evidence.Membership{{
		Network: "blue", Named: true, Up: true, Interface: "eth0", MAC: mac, Addrs: []netip.Addr{addr(address)},
		Gateways: []netip.Addr{addr("10.8.0.1")}, Bridge: "br0", Port: port, Names: []string{name},
	}}}
	return p, &evidence.View{
		Links: []evidence.Link{{Name: "eth0", Up: true, Carrier: true, MTU: 1500, MAC: mac}}, AddrsOn: map[netip.Addr]string{addr(address): "eth0"},
		Route: evidence.Route{Link: "eth0", Hop: addr(to), Source: addr(address)}, Hop: evidence.Neighbour{Addr: addr(to), State: "reachable"}, Settings: map[string]string{},
	}
}

// neighbours is a way between two containers of one network on which nothing is wrong.
func neighbours() evidence.Path {
	p := evidence.Path{Protocol: model.TCP, Port: 80, Source: addr("10.8.0.8"), Target: addr("10.8.0.9"), Meet: "blue"}
	p.From, p.Sender = side("a", "10.8.0.8", "02:00:00:00:00:08", "veth8", "10.8.0.9")
	p.To, p.Receiver = side("web", "10.8.0.9", "02:00:00:00:00:09", "veth9", "10.8.0.8")
	p.Sender.Hop.MAC, p.Receiver.Hop.MAC = "02:00:00:00:00:09", "02:00:00:00:00:08"
	p.Receiver.Sockets = []evidence.Socket{{Protocol: model.TCP, At: netip.MustParseAddrPort("0.0.0.0:80")}}
	p.Names = evidence.Names{Name: "web", Ours: true, Expected: true, Servers: []evidence.NameServer{{Server: addr("127.0.0.11"), Answer: evidence.Answered, Addrs: []netip.Addr{addr("10.8.0.9")}}}}
	p.Host = &evidence.View{
		Links: []evidence.Link{
			{Name: "br0", Kind: "bridge", Up: true, MTU: 1500, MAC: "02:00:00:00:00:01"}, {Name: "veth8", Up: true, Carrier: true, MTU: 1500, Master: "br0"},
			{Name: "veth9", Up: true, Carrier: true, MTU: 1500, Master: "br0"}, {Name: "up0", Up: true, Carrier: true, MTU: 1500},
		},
		AddrsOn: map[netip.Addr]string{addr("10.8.0.1"): "br0"}, Settings: map[string]string{"net/ipv4/ip_forward": "1"},
	}
	p.Firewall = evidence.Verdict{Asked: true, Outcome: string(facts.OutcomeAccepted), In: "veth8", Out: "veth9", From: p.Source, To: netip.AddrPortFrom(p.Target, 80)}
	p.Connections = evidence.Connections{Count: 1, Max: 100}
	p.Probe = evidence.Probe{Result: evidence.ProbeSilent}
	return p
}

// outward is a way from a container to another machine on which nothing is wrong.
func outward() evidence.Path {
	p := neighbours()
	p.To, p.Target, p.Meet, p.Receiver, p.Names = evidence.Party{Kind: evidence.Outside, Name: "192.0.2.9"}, addr("192.0.2.9"), "", nil, evidence.Names{}
	p.Sender.Route.Hop, p.Sender.Hop = addr("10.8.0.1"), evidence.Neighbour{Addr: addr("10.8.0.1"), State: "reachable", MAC: "02:00:00:00:00:01"}
	p.Firewall.Out, p.Firewall.From, p.Firewall.To = "up0", addr("192.0.2.1"), netip.MustParseAddrPort("192.0.2.9:80")
	p.Host.Route = evidence.Route{Link: "up0", Hop: addr("192.0.2.254")}
	p.Host.Hop = evidence.Neighbour{Addr: addr("192.0.2.254"), State: "stale", MAC: "02:00:00:00:00:fe"}
	return p
}

// serviced is a way to a service with a task here, one elsewhere and one that is not ready, on
// which nothing is wrong.
func serviced() evidence.Path {
	p := neighbours()
	web := p.To
	p.To, p.Target, p.Meet, p.Receiver, p.Host, p.Names = evidence.Party{Kind: evidence.AService, Name: "shop"}, addr("10.8.0.2"), "", nil, nil, evidence.Names{}
	p.Firewall, p.Connections = evidence.Verdict{}, evidence.Connections{}
	p.Sender.Route.Hop, p.Sender.Hop.Addr = p.Target, p.Target
	p.Within = evidence.Within{Network: "blue", Namespace: "/ov-blue"}
	p.Balanced = &evidence.Balanced{
		Service: "shop", Network: "blue", Shares: map[netip.Addr]int{addr("10.8.0.9"): 32, addr("10.8.0.10"): 32},
		Backends: []evidence.Backend{
			{Name: "web", Addr: addr("10.8.0.9"), Ready: true, Here: &web, View: &evidence.View{Sockets: []evidence.Socket{{Protocol: model.TCP, At: netip.MustParseAddrPort("0.0.0.0:80")}}}},
			{Name: "shop.2", Addr: addr("10.8.0.10"), Ready: true}, {Name: "shop.3", Addr: addr("10.8.0.11")},
		},
	}
	return p
}

// answer is what a name server says of everything.
func answer(server string, a evidence.NameAnswer, addrs ...netip.Addr) []evidence.NameServer {
	return []evidence.NameServer{{Server: addr(server), Answer: a, Addrs: addrs}}
}

// TestTrace changes one thing on a way on which nothing is wrong, and expects that to be
// found, with whose it is.
func TestTrace(t *testing.T) {
	for name, c := range map[string]struct {
		base        func() evidence.Path
		change      func(p *evidence.Path)
		want, whose string
	}{
		"gone":             {neighbours, func(p *evidence.Path) { p.To.State, p.To.ExitCode = "exited", 137 }, "does not run: it is exited (exit status 137)", "container web"},
		"sender gone":      {outward, func(p *evidence.Path) { p.From.State = "created" }, "container a does not run: it is created", "container a"},
		"paused":           {neighbours, func(p *evidence.Path) { p.To.State, p.Probe.Result = "paused", evidence.ProbeConnected }, "web is paused", "container web"},
		"no network":       {outward, func(p *evidence.Path) { p.From.Networks = nil }, "container a is on no network", "container a"},
		"hosts":            {neighbours, func(p *evidence.Path) { p.Names.Hosts = []netip.Addr{addr("10.1.1.1")} }, "/etc/hosts of container a says that web is 10.1.1.1", "container a"},
		"a stranger's DNS": {neighbours, func(p *evidence.Path) { p.Names.Servers = answer("10.8.0.53", evidence.Answered, addr("10.1.1.1")) }, "name server 10.8.0.53 says that web is 10.1.1.1", "name server 10.8.0.53"},
		"no resolver":      {neighbours, func(p *evidence.Path) { p.Names.Servers = answer("127.0.0.11", evidence.Silent) }, "linkspan's resolver, 127.0.0.11, does not answer", "linkspan"},
		"other name": {neighbours, func(p *evidence.Path) {
			p.Names.Name, p.Names.Servers = "www", answer("127.0.0.11", evidence.NoName)
		}, "does not find www: container web is called web on network blue", "named it"},
		"two networks": {neighbours, func(p *evidence.Path) {
			p.Meet, p.To.Networks[0].Network, p.Names.Servers = "", "red", answer("127.0.0.11", evidence.NoName)
		}, "share no network (a is on blue, web on red)", "networks"},
		"no names": {neighbours, func(p *evidence.Path) {
			p.From.Networks[0].Named, p.To.Networks[0].Named, p.Names.Ours, p.Names.Expected, p.Names.Servers = false, false, false, false, answer("192.0.2.53", evidence.NoName)
		}, "containers have no names", "network"},
		"no server": {outward, func(p *evidence.Path) { p.Names = evidence.Names{Name: "x.test"} }, "names no name server", "container a"},
		"dead upstream": {outward, func(p *evidence.Path) {
			p.Names = evidence.Names{Name: "x.test", Ours: true, Expected: true, Servers: answer("127.0.0.11", evidence.Refused), Upstreams: answer("192.0.2.53", evidence.Silent)}
		}, "name server 192.0.2.53 does not answer", "192.0.2.53"},
		"internal names": {outward, func(p *evidence.Path) {
			p.From.Networks[0].Internal = true
			p.Names = evidence.Names{Name: "x.test", Ours: true, Expected: true, Servers: answer("127.0.0.11", evidence.Refused)}
		}, "all its networks are internal (blue), so names", "networks"},
		"internal":       {outward, func(p *evidence.Path) { p.From.Networks[0].Internal = true; p.Sender.Route.Err = "unreachable" }, "are internal (blue): nothing leads outside", "networks"},
		"link down":      {neighbours, func(p *evidence.Path) { p.Sender.Links[0].Up = false }, "eth0 of container a is down", "container a"},
		"interface lost": {neighbours, func(p *evidence.Path) { p.Receiver.Links = nil }, "web has lost its interface eth0", "container web"},
		"address lost":   {neighbours, func(p *evidence.Path) { p.Receiver.AddrsOn = nil }, "eth0 of container web has lost its address 10.8.0.9", "container web"},
		"no route":       {outward, func(p *evidence.Path) { p.Sender.Route = evidence.Route{Err: "network is unreachable"} }, "a has no route to 192.0.2.9: network is unreachable", "container a"},
		"own rules": {neighbours, func(p *evidence.Path) {
			p.Sender.Rules = evidence.Verdict{Outcome: string(facts.OutcomeRejected), Decides: "rule x"}
		}, "rule x inside container a rejects what leaves", "container a"},
		"bridge gone":    {neighbours, func(p *evidence.Path) { p.Host.Links = p.Host.Links[1:] }, "bridge br0 of network blue is gone", "administrator"},
		"port gone":      {neighbours, func(p *evidence.Path) { p.Host.Links = p.Host.Links[:2] }, "host's end of eth0 of container web, veth9, is gone", "administrator"},
		"port down":      {neighbours, func(p *evidence.Path) { p.Host.Links[2].Up = false }, "veth9, is down", "administrator"},
		"off its bridge": {neighbours, func(p *evidence.Path) { p.Host.Links[2].Master = "other" }, "veth9, is not on bridge br0", "administrator"},
		"fixed neighbour": {neighbours, func(p *evidence.Path) { p.Sender.Hop.MAC, p.Sender.Hop.State = "02:00:00:00:00:66", "permanent" },
			"fixed neighbour entry that says 10.8.0.9 is at 02:00:00:00:00:66", "container a"},
		"impostor":         {neighbours, func(p *evidence.Path) { p.Sender.Hop.MAC = "02:00:00:00:00:66" }, "somebody else, 02:00:00:00:00:66, answers for 10.8.0.9", "whoever has"},
		"false gateway":    {outward, func(p *evidence.Path) { p.Sender.Hop.MAC = "02:00:00:00:00:66" }, "answers for 10.8.0.1: bridge br0 is at 02:00:00:00:00:01", "whoever has"},
		"silent neighbour": {neighbours, func(p *evidence.Path) { p.Sender.Hop.State, p.Sender.Hop.MAC = "incomplete", "" }, "web does not answer container a when it asks", ""},
		"no ARP": {neighbours, func(p *evidence.Path) {
			p.Sender.Hop.State, p.Sender.Hop.MAC, p.Receiver.Links[0].NoARP = "failed", "", true
		}, "ARP is switched off on eth0", "container web"},
		"foreign drop": {neighbours, func(p *evidence.Path) {
			p.Firewall.Outcome, p.Firewall.Decides = string(facts.OutcomeDropped), "rule x"
		}, "on this host rule x drops it", "administrator"},
		"our drop": {neighbours, func(p *evidence.Path) {
			p.Firewall = evidence.Verdict{Asked: true, Outcome: string(facts.OutcomeDropped), Decides: "rule x", Ours: true, For: "network blue", WayOut: "publish"}
		}, "on this host rule x drops it", "linkspan, for network blue"},
		"no forwarding": {outward, func(p *evidence.Path) { p.Host.Settings["net/ipv4/ip_forward"] = "0" }, "does not forward packets (net.ipv4.ip_forward is 0)", "administrator"},
		"no way": {outward, func(p *evidence.Path) {
			p.Firewall.Outcome, p.Firewall.Decides = string(facts.OutcomeUnreachable), "no way: x"
		}, "this host has no route for it: no way: x", "administrator"},
		"full":             {outward, func(p *evidence.Path) { p.Connections.Count = 100 }, "the table of connections is full: 100 of 100", "administrator"},
		"uplink down":      {outward, func(p *evidence.Path) { p.Host.Links[3].Carrier = false }, "up0, by which this host sends it, is down or has no carrier", "administrator"},
		"router dead":      {outward, func(p *evidence.Path) { p.Host.Hop.State = "failed" }, "router 192.0.2.254, to which this host hands it by up0, does not answer", "192.0.2.254"},
		"no masquerade":    {outward, func(p *evidence.Path) { p.Firewall.From = addr("10.8.0.8") }, "it leaves this host as 10.8.0.8", "chose the network"},
		"nobody":           {neighbours, func(p *evidence.Path) { p.Receiver.Sockets = nil }, "in container web nobody waits at port 80/tcp", "container web"},
		"loopback only":    {neighbours, func(p *evidence.Path) { p.Receiver.Sockets[0].At = netip.MustParseAddrPort("127.0.0.1:80") }, "127.0.0.1:80/tcp alone", "container web"},
		"another address":  {neighbours, func(p *evidence.Path) { p.Receiver.Sockets[0].At = netip.MustParseAddrPort("10.9.0.9:80") }, "10.9.0.9:80/tcp, not at 10.8.0.9", "container web"},
		"another protocol": {neighbours, func(p *evidence.Path) { p.Receiver.Sockets[0].Protocol = model.UDP }, "nobody waits at port 80/tcp; it is waited at by 0.0.0.0:80/udp", "container web"},
		"hangs": {neighbours, func(p *evidence.Path) {
			p.Receiver.Sockets[0].Waiting, p.Receiver.Sockets[0].Backlog, p.Probe.Result = 6, 5, evidence.ProbeConnected
		}, "does not take its connections", "container web"},
		"no way back": {neighbours, func(p *evidence.Path) { p.Receiver.Route = evidence.Route{Err: "network is unreachable"} }, "web has no way back to 10.8.0.8", "container web"},
		"filtered by its way back": {neighbours, func(p *evidence.Path) {
			p.Receiver.Route.Link, p.Receiver.Settings["net/ipv4/conf/all/rp_filter"] = "eth1", "1"
		}, "it comes by eth0, the answer would leave by eth1, and net.ipv4.conf.all.rp_filter is 1", "container web"},
		"small end":   {neighbours, func(p *evidence.Path) { p.Receiver.Links[0].MTU, p.Probe.Result = 1300, evidence.ProbeConnected }, "packets of more than 1300 bytes vanish", "container web"},
		"large start": {neighbours, func(p *evidence.Path) { p.Sender.Links[0].MTU = 9000 }, "packets of more than 1500 bytes vanish without a word on network blue: eth0 of container a has an MTU of 9000", "container a"},
		"nobody ready": {serviced, func(p *evidence.Path) {
			p.Balanced.Backends, p.Balanced.Shares = p.Balanced.Backends[2:], nil
		}, "service shop has no task that is ready: connections to 10.8.0.2 are refused", "service shop"},
		"balanced elsewhere": {serviced, func(p *evidence.Path) {
			p.Balanced.Shares = map[netip.Addr]int{addr("10.8.0.9"): 32, addr("10.8.0.11"): 32}
		}, "do not lead to shop.2 10.8.0.10 (elsewhere), but to shop.3 10.8.0.11 (elsewhere)", "administrator"},
		"not on its network": {serviced, func(p *evidence.Path) { p.Within = evidence.Within{} }, "10.8.0.2 is service shop on network blue", "networks"},
		"a deaf task": {serviced, func(p *evidence.Path) {
			p.Balanced.Backends[0].View.Sockets, p.Probe.Result = nil, evidence.ProbeConnected
		}, "in container web nobody waits at port 80/tcp: one of 2 connections to service shop fails", "container web"},
		"refused": {outward, func(p *evidence.Path) { p.Probe.Result = evidence.ProbeRefused }, "192.0.2.9:80/tcp refuses", "192.0.2.9"},
	} {
		p := c.base()
		c.change(&p)
		r := Trace(p)
		if r.Outcome != Broken || !strings.Contains(r.Verdict, c.want) || !strings.Contains(r.Whose, c.whose) {
			t.Errorf("%s: %s: %q, whose: %q\nwant %q, whose: %q\n%v", name, r.Outcome, r.Verdict, r.Whose, c.want, c.whose, r.Steps)
		}
	}
}

// TestTraceBlamesNobody: where nothing is wrong, and where things could not be seen, nothing
// is said to be wrong; and an attempt that came through refutes what only looks wrong.
func TestTraceBlamesNobody(t *testing.T) {
	hide := map[string]func(p *evidence.Path){
		"nothing": func(*evidence.Path) {}, "sender": func(p *evidence.Path) { p.Sender = nil }, "host": func(p *evidence.Path) { p.Host = nil },
		"receiver": func(p *evidence.Path) { p.Receiver = nil }, "firewall": func(p *evidence.Path) { p.Firewall = evidence.Verdict{} },
		"firewall failed": func(p *evidence.Path) { p.Firewall = evidence.Verdict{Asked: true, Err: "x"} }, "names": func(p *evidence.Path) { p.Names = evidence.Names{} },
		"connections": func(p *evidence.Path) { p.Connections = evidence.Connections{} }, "attempt": func(p *evidence.Path) { p.Probe = evidence.Probe{} },
		"hop": func(p *evidence.Path) { p.Sender.Hop = evidence.Neighbour{} },
	}
	for base, path := range map[string]func() evidence.Path{"neighbours": neighbours, "outward": outward, "serviced": serviced} {
		for hidden, f := range hide {
			p := path()
			f(&p)
			if r := Trace(p); r.Outcome == Broken {
				t.Errorf("%s without %s: %q %v", base, hidden, r.Verdict, r.Steps)
			}
		}
		p := path()
		p.Probe.Result, p.Firewall.Outcome = evidence.ProbeConnected, string(facts.OutcomeDropped)
		if r := Trace(p); r.Outcome != Reachable {
			t.Errorf("%s: %+v", base, r)
		}
	}
}
