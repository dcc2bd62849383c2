// Package plantest plays requests, one a line, and returns what plans are compiled from:
// the golden tests of plans and of the firewall's documents are written so.
//
//	network shop subnet=10.1.0.0/24
//	container web @shop= publish=8080:80
//	start web
//
// It is for tests alone.
package plantest

import (
	"bufio"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/ops/overlays"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/ports"
	"github.com/linkspan/linkspan/internal/state"
)

// Play runs requests on an empty state and returns what they come to, and the errors of
// those that were refused. Besides what Request reads, a line may be a setting of the
// daemon (direct-routing, accept-mark [MARK/MASK], no-firewall FAMILY...) or what is known of the
// host (host-names ADDRESS,... MAC) or a network of the swarm (hosts NETWORK LOCAL
// NAME:VTEP:ADDRESS[:SERVICE|VIP]...).
func Play(t testing.TB, drivers driver.Set, requests string) (in plan.Input, refused string) {
	t.Helper()
	in = plan.Input{Snapshot: state.Empty(), Drivers: drivers}
	in.Facts.Host = facts.Host{Instance: "golden", Links: []string{"eth0", "eth1", "eth1.7", "lo", "two.dots.there"}, UniqueLocal: netip.MustParsePrefix("fd00:1::/48"), BootID: "boot", ForwardingOff4: true, ForwardingOff6: true,
		Packets: facts.Packets{Large4: true, Large6: true, Out4: 65536, Out6: 65536}}
	var errors strings.Builder
	lines := bufio.NewScanner(strings.NewReader(requests))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || setting(t, &in, words) {
			continue
		}
		tx := ops.Begin(in.Snapshot, in.Facts, in.Drivers)
		tx.Maker.Bases, tx.Now = ipam.DefaultBases(), time.Unix(0, 0)
		if err := Request(t, drivers, words)(tx); err != nil {
			fmt.Fprintf(&errors, "%s: %v\n", lines.Text(), err)
			continue
		}
		in.Snapshot, _ = tx.Commit()
	}
	return in, errors.String()
}

// setting reads a line that is no request; false if it is one.
func setting(t testing.TB, in *plan.Input, words []string) bool {
	t.Helper()
	switch words[0] {
	case "direct-routing":
		in.Firewall.DirectRouting = true
	case "accept-mark":
		in.Firewall.Accept = &desired.AcceptMark{Mark: 7, Mask: 0xf}
		if len(words) > 1 && words[1] != "on" {
			if _, err := fmt.Sscanf(words[1], "0x%x/0x%x", &in.Firewall.Accept.Mark, &in.Firewall.Accept.Mask); err != nil {
				t.Fatalf("%q: %v", words, err)
			}
		}
	case "no-firewall":
		in.Firewall.Off4, in.Firewall.Off6 = slices.Contains(words, "4"), slices.Contains(words, "6")
	case "host-names":
		for _, a := range strings.Split(words[1], ",") {
			in.Facts.Host.Addrs = append(in.Facts.Host.Addrs, netip.MustParseAddr(a))
		}
		in.Facts.Host.MACs = words[2:]
	case "hosts":
		o := facts.Overlay{ID: model.NetworkID(digits(words[1])), Local: netip.MustParseAddr(words[2]), Port: 4789, MTU: 1450}
		for _, w := range words[3:] {
			p := strings.Split(w, ":")
			r := model.Remote{Endpoint: model.EndpointID(digits(p[0])), VTEP: netip.MustParseAddr(p[1]), Addrs: []netip.Addr{netip.MustParseAddr(p[2])}, Names: p[:1]}
			if len(p) > 3 {
				r.Service, r.Serving = service(p[0], p[3]), true
			}
			o.Remotes = append(o.Remotes, r)
		}
		in.Facts = in.Facts.With(o)
	default:
		return false
	}
	return true
}

// Request reads one line: VERB NAME [KEY=VALUE…].
func Request(t testing.TB, drivers driver.Set, words []string) ops.Op {
	t.Helper()
	maker := ops.NetworkMaker{Drivers: drivers, Bases: ipam.DefaultBases(), Host: ops.HostSettings{Forward4: true, Forward6: true}}
	args := map[string]string{}
	var order []string
	for _, w := range words[2:] {
		k, v, _ := strings.Cut(w, "=")
		args[k] = v
		order = append(order, k)
	}
	name := words[1]
	switch words[0] {
	case "host":
		maker.Host.Router = args["router"] == "true"
		return ops.SetHost(maker.Host)
	case "network":
		return maker.Create(Network(name, args))
	case "overlay": // vni, and what else networks have
		n := Network(name, args)
		n.Driver, n.Options["com.docker.network.driver.overlay.vxlanid_list"] = model.DriverOverlay, args["vni"]
		return overlays.Put(n)
	case "default-bridge":
		n := Network(model.NetworkBridge, args)
		n.Driver = "bridge"
		host := model.Network{ID: model.NetworkID(digits("host")), Name: model.NetworkHost, Driver: "host"}
		none := model.Network{ID: model.NetworkID(digits("none")), Name: model.NetworkNone, Driver: "null"}
		return maker.Predefine(n, host, none)
	case "remove-container":
		return ops.RemoveSandbox(Sandbox(name).ID)
	case "unlink":
		return ops.Unlink(Sandbox(name).ID, Sandbox(args["from"]).ID)
	case "yield":
		return ops.YieldSandbox(Sandbox(name).ID)
	case "remove-network":
		return ops.RemoveNetwork(name)
	case "container":
		var specs []ops.EndpointSpec
		for _, k := range order {
			if net, ok := strings.CutPrefix(k, "@"); ok {
				specs = append(specs, membership(name, net, args[k]))
			}
		}
		sb := Sandbox(name)
		sb.Publish = publications(t, args["publish"])
		sb.Links = linksTo(t, args["link"])
		sb.NetAdmin = args["netadmin"] == "true"
		sb.NoIPv6 = args["no-ipv6"] == "true"
		return ops.CreateSandbox(sb, specs)
	case "start":
		return ops.StartSandbox(Sandbox(name).ID)
	case "serve":
		return ops.SetServing(Sandbox(name).ID, args["ready"] != "false")
	case "stop":
		return ops.StopSandbox(Sandbox(name).ID)
	case "rename":
		return ops.RenameSandbox(Sandbox(name).ID, args["to"])
	case "connect":
		return ops.Connect(Sandbox(name).ID, membership(name, args["to"], args["with"]))
	case "disconnect":
		return ops.Disconnect(Sandbox(name).ID, args["from"], false)
	}
	t.Fatalf("unknown request %q", words)
	return nil
}

func digits(name string) string {
	return (fmt.Sprintf("%x", name) + strings.Repeat("0", 64))[:64]
}

// Sandbox returns the sandbox of a container of that name, as it is made.
func Sandbox(name string) model.Sandbox {
	return model.Sandbox{ID: model.SandboxID(digits("s" + name)), Container: model.ContainerID(digits("c" + name)),
		Name: name, Hostname: "h-" + name, Mode: model.SandboxOwn}
}

// Network returns a network as it is asked for: ipv4, ipv6, internal, subnet, gateway,
// range, driver, and options by their names.
func Network(name string, args map[string]string) model.Network {
	n := model.Network{ID: model.NetworkID(digits(name)), Name: name, Created: time.Unix(0, 0), IPv4: args["ipv4"] != "false",
		IPv6: args["ipv6"] == "true", Internal: args["internal"] == "true", Options: map[string]string{}, Driver: args["driver"]}
	pool := model.Pool{}
	if s := args["subnet"]; s != "" {
		pool.Subnet = netip.MustParsePrefix(s)
		if g := args["gateway"]; g != "" {
			pool.Gateway = netip.MustParseAddr(g)
		}
		if r := args["range"]; r != "" {
			pool.Range = netip.MustParsePrefix(r)
		}
		if a := args["aux"]; a != "" {
			pool.Aux = map[string]netip.Addr{"aux": netip.MustParseAddr(a)}
		}
		n.IPAM.Pools = []model.Pool{pool}
	}
	for i := 2; args[fmt.Sprint("subnet", i)] != ""; i++ { // further ones
		more := model.Pool{Subnet: netip.MustParsePrefix(args[fmt.Sprint("subnet", i)])}
		more.Gateway, _ = netip.ParseAddr(args[fmt.Sprint("gateway", i)])
		n.IPAM.Pools = append(n.IPAM.Pools, more)
	}
	for k, v := range args {
		if strings.HasPrefix(k, "com.") || k == "parent" || strings.HasPrefix(k, "macvlan_") || strings.HasPrefix(k, "ipvlan_") {
			n.Options[k] = v
		}
	}
	return n
}

// publications reads "8080:80,127.0.0.1|9000-9002:80-82/udp"; without an address
// before the bar they are for all.
func publications(t testing.TB, text string) []model.PortSpec {
	t.Helper()
	var out []model.PortSpec
	for _, one := range strings.Split(text, ",") {
		if one == "" {
			continue
		}
		spec := model.PortSpec{Protocol: model.TCP}
		host, rest, said := strings.Cut(one, "|")
		if said {
			spec.Host = netip.MustParseAddr(host)
		} else {
			rest = host
		}
		rest, protocol, said := strings.Cut(rest, "/")
		if said {
			spec.Protocol = model.Protocol(protocol)
		}
		left, right, _ := strings.Cut(rest, ":")
		var err1, err2 error
		spec.HostPorts, err1 = ports.ParseHostPorts(left)
		spec.Container, err2 = ports.ParseHostPorts(right)
		if err1 != nil || err2 != nil {
			t.Fatal(one, err1, err2)
		}
		out = append(out, spec)
	}
	return out
}

// linksTo reads "db|80,db2|5000-5009/udp": containers and what they expose.
func linksTo(t testing.TB, text string) []model.SandboxLink {
	t.Helper()
	var out []model.SandboxLink
	for _, one := range strings.Split(text, ",") {
		target, exposed, said := strings.Cut(one, "|")
		if !said {
			continue
		}
		open := model.OpenPorts{Protocol: model.TCP}
		if numbers, protocol, said := strings.Cut(exposed, "/"); said {
			exposed, open.Protocol = numbers, model.Protocol(protocol)
		}
		var err error
		if open.Ports, err = ports.ParseHostPorts(exposed); err != nil {
			t.Fatal(one, err)
		}
		out = append(out, model.SandboxLink{Target: Sandbox(target).ID, Ports: []model.OpenPorts{open}})
	}
	return out
}

// membership reads the settings of one: "ip:10.0.0.7,alias:db,prio:2,private:web|w".
func membership(name, network, settings string) ops.EndpointSpec {
	spec := ops.EndpointSpec{ID: model.EndpointID(digits("e" + name + network)), Network: network}
	for _, setting := range strings.Split(settings, ",") {
		k, v, _ := strings.Cut(setting, ":")
		switch k {
		case "ip":
			spec.IPv4 = netip.MustParseAddr(v)
		case "ip6": // with bars for colons
			spec.IPv6 = netip.MustParseAddr(strings.ReplaceAll(v, "|", ":"))
		case "mac": // with dashes
			spec.MAC = strings.ReplaceAll(v, "-", ":")
		case "alias":
			spec.Aliases = append(spec.Aliases, v)
		case "prio":
			fmt.Sscan(v, &spec.Priority)
		case "security":
			spec.DriverOpts = map[string]string{"com.linkspan.port_security": v}
		case "ifname":
			spec.DriverOpts = map[string]string{"com.docker.network.endpoint.ifname": v}
		case "sysctl":
			spec.DriverOpts = map[string]string{"com.docker.network.endpoint.sysctls": strings.ReplaceAll(v, "|", ",")}
		case "service": // NAME|VIP
			spec.Service = service(name, v)
		case "private": // TARGET|ALIAS
			target, alias, _ := strings.Cut(v, "|")
			spec.Links = append(spec.Links, model.Link{Target: target, Alias: alias})
		}
	}
	return spec
}

// service reads what a task stands for: "shop|10.0.0.9", or without an address "shop".
func service(task, text string) *model.ServiceEndpoint {
	name, vip, said := strings.Cut(text, "|")
	out := &model.ServiceEndpoint{Service: "id-" + name, Name: name, Task: task, Aliases: []string{name + "-alias"}}
	if said {
		out.VIPs = []netip.Addr{netip.MustParseAddr(vip)}
	}
	return out
}
