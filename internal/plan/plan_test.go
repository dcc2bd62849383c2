package plan_test

import (
	"bufio"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/firewall"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/ports"
	"github.com/linkspan/linkspan/internal/state"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compiles what each story in testdata asks for and compares every
// row with the one written down. A story is a txtar archive: "ops" holds one
// request a line, "desired" the rows, "refused" the errors.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sections := map[string]*[]byte{}
			for i := range archive.Files {
				sections[archive.Files[i].Name] = &archive.Files[i].Data
			}
			want, refused := tell(t, string(*sections["ops"]))
			for name, got := range map[string]string{"desired": want, "refused": refused} {
				switch section := sections[name]; {
				case section == nil && got != "" && !*update:
					t.Errorf("the story has no %q, got:\n%s", name, got)
				case section != nil && *update:
					*section = []byte(got)
				case section != nil && string(*section) != got:
					t.Errorf("%s:\n%s\nwant:\n%s", name, got, *section)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// tell runs the requests of a story and returns the rows and the errors.
func tell(t *testing.T, story string) (rows, refused string) {
	t.Helper()
	s := state.Empty()
	f := facts.Set{Host: facts.Host{Instance: "golden", UniqueLocal: netip.MustParsePrefix("fd00:1::/48"), BootID: "boot", ForwardingOff4: true, ForwardingOff6: true,
		Packets: facts.Packets{Large4: true, Large6: true, Out4: 65536, Out6: 65536}}}
	var errors strings.Builder
	var settings firewall.Settings
	lines := bufio.NewScanner(strings.NewReader(story))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "direct-routing":
			settings.DirectRouting = true
			continue
		case "accept-mark":
			settings.Accept = &desired.AcceptMark{Mark: 7, Mask: 0xf}
			continue
		case "no-firewall": // FAMILY...
			settings.Off4, settings.Off6 = slices.Contains(words, "4"), slices.Contains(words, "6")
			continue
		}
		tx := ops.Begin(s, f, all.Drivers())
		if err := request(t, words)(tx); err != nil {
			fmt.Fprintf(&errors, "%s: %v\n", lines.Text(), err)
			continue
		}
		s, _ = tx.Commit()
	}
	want, err := plan.Input{Snapshot: s, Facts: f, Drivers: all.Drivers(), Firewall: settings}.Full()
	if err != nil {
		t.Fatal(err)
	}
	older, err := plan.Input{Snapshot: asOlder(t, s, f), Facts: f, Drivers: all.Drivers(), Firewall: settings}.Full()
	if err != nil || older.String() != want.String() {
		t.Errorf("of the records of an older release (%v):\n%s\nwant:\n%s", err, older, want)
	}
	return want.String(), errors.String()
}

// asOlder returns the snapshot as it is after it was written by a release that did not
// say where published ports lead, and settled by this one.
func asOlder(t *testing.T, s *state.Snapshot, f facts.Set) *state.Snapshot {
	t.Helper()
	tx := ops.Begin(s, f, all.Drivers())
	for sb := range s.Sandboxes() {
		sb.Ports, sb.Routed = slices.Clone(sb.Ports), nil
		for i := range sb.Ports {
			sb.Ports[i].Endpoint = ""
		}
		tx.PutSandbox(sb)
	}
	if err := ops.SettlePublished()(tx); err != nil {
		t.Fatal(err)
	}
	s, _ = tx.Commit()
	return s
}

var maker = ops.NetworkMaker{Drivers: all.Drivers(), Bases: ipam.DefaultBases(), Host: ops.HostSettings{Forward4: true, Forward6: true}}

// request reads one line: VERB NAME [KEY=VALUE…].
func request(t *testing.T, words []string) ops.Op {
	t.Helper()
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
		return ops.SetHost(maker.Host)
	case "network":
		return maker.Create(networkFrom(name, args))
	case "default-bridge":
		n := networkFrom(model.NetworkBridge, args)
		n.Driver = "bridge"
		host := model.Network{ID: model.NetworkID(digits("host")), Name: model.NetworkHost, Driver: "host"}
		none := model.Network{ID: model.NetworkID(digits("none")), Name: model.NetworkNone, Driver: "null"}
		return maker.Predefine(n, host, none)
	case "remove-container":
		return ops.RemoveSandbox(sandboxNamed(name).ID)
	case "unlink":
		return ops.Unlink(sandboxNamed(name).ID, sandboxNamed(args["from"]).ID)
	case "yield":
		return ops.YieldSandbox(sandboxNamed(name).ID)
	case "remove-network":
		return ops.RemoveNetwork(name)
	case "container":
		var specs []ops.EndpointSpec
		for _, k := range order {
			if net, ok := strings.CutPrefix(k, "@"); ok {
				specs = append(specs, membership(name, net, args[k]))
			}
		}
		sb := sandboxNamed(name)
		sb.Publish = publications(t, args["publish"])
		sb.Links = linksTo(t, args["link"])
		sb.NetAdmin = args["netadmin"] == "true"
		sb.NoIPv6 = args["no-ipv6"] == "true"
		return ops.CreateSandbox(sb, specs)
	case "start":
		return ops.StartSandbox(sandboxNamed(name).ID)
	case "stop":
		return ops.StopSandbox(sandboxNamed(name).ID)
	case "rename":
		return ops.RenameSandbox(sandboxNamed(name).ID, args["to"])
	case "connect":
		return ops.Connect(sandboxNamed(name).ID, membership(name, args["to"], args["with"]))
	case "disconnect":
		return ops.Disconnect(sandboxNamed(name).ID, args["from"], false)
	}
	t.Fatalf("unknown request %q", words)
	return nil
}

func digits(name string) string {
	return (fmt.Sprintf("%x", name) + strings.Repeat("0", 64))[:64]
}

func sandboxNamed(name string) model.Sandbox {
	return model.Sandbox{ID: model.SandboxID(digits("s" + name)), Container: model.ContainerID(digits("c" + name)),
		Name: name, Hostname: "h-" + name, Mode: model.SandboxOwn}
}

func networkFrom(name string, args map[string]string) model.Network {
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
		n.IPAM.Pools = []model.Pool{pool}
	}
	for k, v := range args {
		if strings.HasPrefix(k, "com.") {
			n.Options[k] = v
		}
	}
	return n
}

// publications reads "8080:80,127.0.0.1|9000-9002:80-82/udp"; without an address
// before the bar they are for all.
func publications(t *testing.T, text string) []model.PortSpec {
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
func linksTo(t *testing.T, text string) []model.SandboxLink {
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
		out = append(out, model.SandboxLink{Target: sandboxNamed(target).ID, Ports: []model.OpenPorts{open}})
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
		case "private": // TARGET|ALIAS
			target, alias, _ := strings.Cut(v, "|")
			spec.Links = append(spec.Links, model.Link{Target: target, Alias: alias})
		}
	}
	return spec
}

// TestHostsOwnNames: no container speaks for the host, by whichever address or
// interface it is known.
func TestHostsOwnNames(t *testing.T) {
	in := plan.Input{Snapshot: state.Empty(), Drivers: all.Drivers(), Facts: facts.Set{Host: facts.Host{
		Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, MACs: []string{"02:00:00:00:ff:01"},
	}}}
	rows, err := in.Compile("host/")
	want := "policy identity of host [02:00:00:00:ff:01] [192.0.2.1 2001:db8::1 fe80::ff:fe00:ff01]"
	if err != nil || len(rows) != 1 || fmt.Sprint(rows[0]) != want {
		t.Errorf("%v, %v", rows, err)
	}
}
