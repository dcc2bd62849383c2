package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fault is something that is wrong on purpose, and who is asked about it.
type fault struct {
	name string
	// seed and undo are for a shell on the host; see faults.shell for its words. Nothing is
	// seeded where the question alone is wrong.
	seed, undo string
	// hold is an address of the host that somebody else listens at meanwhile.
	hold string
	// queue is where connections are opened until no more are taken.
	queue string
	// trace is "FROM TO"; empty: the doctor is asked.
	trace string
	// want is what the answer must say, and whose what it must say of whose it is. The
	// doctor must find nothing else that it had not found before.
	want, whose string
}

// theFaults is the table: each is named by its true cause, and nobody else is blamed.
var theFaults = []fault{
	{name: "listener on 127.0.0.1 only", trace: "web friend:5000", want: `5000/tcp is waited at by .*127\.0\.0\.1:5000/tcp alone`, whose: "^container friend$"},
	{name: "nobody listens", trace: "friend web:81", want: "nobody waits at port 81/tcp", whose: "^container web$"},
	{name: "it listens by UDP", trace: "web friend:5353", want: `nobody waits at port 5353/tcp; it is waited at by .*:5353/udp`, whose: "^container friend$"},
	{name: "the target does not run", trace: "friend gone:80", want: `container gone does not run: it is exited \(exit status 3\)`, whose: "container gone"},
	{name: "the target is paused", seed: "pause web", undo: "unpause web", trace: "friend web:80", want: "container web is paused", whose: "container web"},
	{name: "a name outside the network", trace: "friend qq:80", want: "does not find qq: the two share no network", whose: "chose the networks"},
	{name: "no names on the default bridge", trace: "d1 d2:80", want: "on network bridge containers have no names", whose: "chose the network"},
	{name: "an internal network", trace: "ii $WORLD:80", want: "all networks of container ii are internal", whose: "chose the networks"},
	{name: "icc=false", trace: "x1 x2:80", want: "between containers, icc=false", whose: "^linkspan"},
	{name: "another network, by address", trace: "friend 10.9.0.9:80", want: "unpublished ports, other networks", whose: "linkspan, for network red"},
	{name: "not published", trace: "$WORLD web:80", want: "unpublished ports", whose: "linkspan, for network blue"},
	{name: "published on 127.0.0.1 only", trace: "$WORLD $H1:8081", want: `8081/tcp of this host leads nowhere at .*: container web publishes it at 127\.0\.0\.1`, whose: "container web"},
	{name: "a foreign DROP in nft", seed: "nft add table inet admin; nft add chain inet admin f '{ type filter hook forward priority 10; }'; nft add rule inet admin f ip daddr $WORLD drop",
		undo: "nft delete table inet admin", trace: "friend $WORLD:80", want: "inet admin, chain f .*drops it", whose: "administrator"},
	{name: "a foreign DROP in DOCKER-USER", seed: "iptables -I DOCKER-USER -i eth0 -j DROP", undo: "iptables -F DOCKER-USER", trace: "$WORLD $H1:8080", want: "chain DOCKER-USER .*drops it", whose: "administrator"},
	{name: "a foreign DROP of what is for the host", seed: "nft add table inet admin; nft add chain inet admin i '{ type filter hook input priority 0; }'; nft add rule inet admin i tcp dport 2222 drop",
		undo: "nft delete table inet admin", trace: "friend host:2222", want: "inet admin, chain i .*drops it", whose: "administrator"},
	{name: "rules inside the target", seed: "web nft add table ip own; web nft add chain ip own i '{ type filter hook input priority 0; }'; web nft add rule ip own i tcp dport 80 drop",
		undo: "web nft delete table ip own", trace: "friend web:80", want: "ip own, chain i.* inside container web drops", whose: "^container web$"},
	{name: "rules inside the sender", seed: "friend nft add table ip own; friend nft add chain ip own o '{ type filter hook output priority 0; }'; friend nft add rule ip own o tcp dport 80 reject",
		undo: "friend nft delete table ip own", trace: "friend web:80", want: "ip own, chain o.* inside container friend rejects", whose: "^container friend$"},
	{name: "no way out", seed: "friend ip route del default", undo: "friend ip route add default via 10.8.0.1", trace: "friend $WORLD:80", want: "container friend has no route to 198.51.100.1: network is unreachable", whose: "^container friend$"},
	{name: "no way back", seed: "web ip route del default", undo: "web ip route add default via 10.8.0.1", trace: "$WORLD $H1:8080", want: "container web has no way back to 198.51.100.1", whose: "^container web$"},
	{name: "a blackhole on the host", seed: "ip route add blackhole $BEYOND", undo: "ip route del blackhole $BEYOND", trace: "friend $BEYOND:80", want: "host has no route", whose: "administrator"},
	{name: "a policy rule on the host", seed: "ip rule add prio 90 from 10.8.0.0/24 to $WORLD blackhole", undo: "ip rule del prio 90", trace: "friend $WORLD:80", want: "host has no route", whose: "administrator"},
	{name: "no forwarding", seed: "sysctl -qw net.ipv4.conf.eth0.forwarding=0", undo: "sysctl -qw net.ipv4.conf.eth0.forwarding=1", trace: "friend $WORLD:80", want: "host does not forward what comes in by eth0", whose: "administrator"},
	{name: "a wrong neighbour entry", seed: "friend ip neigh replace 10.8.0.9 lladdr 02:00:00:00:00:66 nud permanent dev eth0", undo: "friend ip neigh del 10.8.0.9 dev eth0",
		trace: "friend web:80", want: "fixed neighbour entry .*02:00:00:00:00:66", whose: "^container friend$"},
	{name: "somebody else has the address", seed: "ip netns add thief; ip link add thief0 type veth peer name eth0 netns thief; ip link set thief0 master $BRIDGE up; ip -n thief link set eth0 up; ip -n thief addr add 10.8.0.9/24 dev eth0; web ip link set eth0 arp off; friend ip neigh flush all",
		undo: "ip netns del thief; web ip link set eth0 arp on; friend ip neigh flush all", trace: "friend web:80", want: "somebody else, .* answers for 10.8.0.9", whose: "whoever has"},
	{name: "ARP switched off", seed: "web ip link set eth0 arp off; friend ip neigh flush all", undo: "web ip link set eth0 arp on; friend ip neigh flush all", trace: "friend web:80",
		want: "ARP is switched off on eth0", whose: "^container web$"},
	{name: "an ARP filter", seed: "web sysctl -qw net.ipv4.conf.eth0.arp_ignore=8; friend ip neigh flush all", undo: "web sysctl -qw net.ipv4.conf.eth0.arp_ignore=0; friend ip neigh flush all",
		trace: "friend web:80", want: "arp_ignore is 8 there", whose: "^container web$"},
	{name: "an interface that is down", seed: "web ip link set eth0 down", undo: "web ip link set eth0 up; web ip route add default via 10.8.0.1 || :", trace: "friend web:80", want: "eth0 of container web is down", whose: "^container web$"},
	{name: "an address that is lost", seed: "web ip addr del 10.8.0.9/24 dev eth0", undo: "web ip addr add 10.8.0.9/24 dev eth0; web ip route add default via 10.8.0.1 || :", trace: "friend web:80",
		want: "eth0 of container web has lost its address 10.8.0.9", whose: "^container web$"},
	{name: "IPv6 switched off", seed: "web sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1", undo: "web sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; $LINKSPAN network repair", trace: "friend [fd00:8::9]:80",
		want: "IPv6 is switched off on eth0 of container web", whose: "^container web$"},
	{name: "a wrong MTU", seed: "web ip link set eth0 mtu 1300", undo: "web ip link set eth0 mtu 1500", trace: "friend web:80", want: "packets of more than 1300 bytes vanish", whose: "^container web$"},
	{name: "a dead upstream", seed: "echo nameserver 198.51.100.77 >/etc/resolv.conf", undo: "echo nameserver $WORLD >/etc/resolv.conf", trace: "friend slow.example.test:80",
		want: "name server 198.51.100.77 does not answer", whose: "198.51.100.77"},
	{name: "a name that there is not", trace: "friend nowhere.example.test:80", want: "no such name, says name server", whose: "chose the name"},
	{name: "resolv.conf overwritten", seed: "inside friend 'cp /etc/resolv.conf /tmp/r; echo nameserver 10.8.0.77 >/etc/resolv.conf'", undo: "inside friend 'cat /tmp/r >/etc/resolv.conf'", trace: "friend web:80",
		want: `its resolv.conf names 10\.8\.0\.77 and not linkspan's resolver`, whose: "^container friend$"},
	{name: "a wrong line in hosts", seed: "inside friend 'cp /etc/hosts /tmp/h; echo 10.8.0.200 web >>/etc/hosts'", undo: "inside friend 'cat /tmp/h >/etc/hosts'", trace: "friend web:80",
		want: `/etc/hosts of container friend says that web is 10\.8\.0\.200`, whose: "^container friend$"},
	{name: "no masquerade", trace: "bare $WORLD:80", want: "network plain does not masquerade", whose: "chose the network"},
	{name: "a machine that is off", trace: "friend 198.51.100.77:80", want: "198.51.100.77, to which this host hands it by eth0, does not answer", whose: "198.51.100.77"},
	{name: "a port closed outside", trace: "friend $WORLD:81", want: "198.51.100.1:81/tcp refuses", whose: "198.51.100.1"},
	{name: "a program that hangs", seed: "inside friend 'kill -STOP $(pidof httpd)'", queue: "10.8.0.8:5001", undo: "inside friend 'kill -CONT $(pidof httpd)'", trace: "web friend:5001", want: `5001/tcp in container friend does not take its connections`, whose: "^container friend$"},
	{name: "no room for connections", seed: "crowd", undo: "conntrack -F", trace: "friend $WORLD:80", want: "table of connections is full", whose: "administrator"},

	{name: "doctor: a port held by a stranger", hold: "0.0.0.0:9090", want: `port 0\.0\.0\.0:9090/tcp, which container late will want, is held by`},
	{name: "doctor: a route into a network", seed: "ip route add 10.8.0.128/25 via $WORLD", undo: "ip route del 10.8.0.128/25", want: `route 10\.8\.0\.128/25 via 198\.51\.100\.1 dev eth0 takes addresses of network blue`},
	{name: "doctor: a VPN over everything", seed: "ip route add 10.0.0.0/8 via $WORLD", undo: "ip route del 10.0.0.0/8", want: `network \w+ \(10\.\d+\.0\.0/24\) hides a part of what is reached by route 10\.0\.0\.0/8`},
	{name: "doctor: a dead name server", seed: "echo nameserver 198.51.100.77 >/etc/resolv.conf", undo: "echo nameserver $WORLD >/etc/resolv.conf", want: `name server 198\.51\.100\.77 does not answer`, whose: "198.51.100.77"},
	{name: "doctor: a foreign policy of DROP", seed: "nft add table inet admin; nft add chain inet admin f '{ type filter hook forward priority 10; policy drop; }'", undo: "nft delete table inet admin",
		want: "chain f of inet admin drops what is forwarded|inet admin, chain f .* drops it", whose: "administrator"},
	{name: "doctor: remains of a dockerd", seed: "ip link add docker_gwbridge type bridge", undo: "ip link del docker_gwbridge", want: "interface docker_gwbridge is left of a dockerd"},
	{name: "doctor: remains of another linkspand", seed: "ip link add old0 type bridge; ip link set old0 alias linkspan:ffffffffffff:network/1", undo: "ip link del old0", want: "interface old0 is left of another linkspand"},
	{name: "doctor: a narrow uplink", seed: "ip link set eth0 mtu 1400", undo: "ip link set eth0 mtu 1500", want: `may be larger \(1500 bytes\) than eth0 takes \(1400\)`},
	{name: "doctor: no default route", seed: "ip route del default", undo: "ip route add default via $WORLD", want: "this host has no route|no IPv4 way|network is unreachable"},
}

// faults is the host on which they are.
type faults struct {
	t    *testing.T
	l    *Lab
	h    *Host
	ctx  context.Context
	base string // what the shell knows
	cli  string
	// known is what the doctor finds odd where nothing was seeded.
	known map[string]bool
}

// TestFaults seeds one fault after the other on one host, and asks the linkspan command what is wrong. Faults are taken back; when all are, nothing is
// wrong any more.
func TestFaults(t *testing.T) {
	engine := needEngine(t)
	l := New(t, Options{Engine: engine})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	f := &faults{t: t, l: l, h: l.Host(1), ctx: ctx, cli: filepath.Join(filepath.Dir(engine), "linkspan")}
	f.build()
	f.healthy("before")
	for _, one := range theFaults {
		if one.seed == "crowd" && f.connections() > 300_000 {
			continue // the machine is large, and so is its table: to fill it takes longer than all others
		}
		t.Run(one.name, func(t *testing.T) { f.try(t, one) })
	}
	f.healthy("after")
	f.takeDown()
}

// build has networks, containers, and somebody who listens on the host and in the world.
func (f *faults) build() {
	f.t.Helper()
	do := must(f.t)
	must0(f.t, errors.Join(f.h.Start(f.ctx), f.h.Load(f.ctx, "busybox", "nginx")))
	for _, network := range []string{
		"--ipv6 --subnet 10.8.0.0/24 --subnet fd00:8::/64 blue", "--subnet 10.9.0.0/24 red", "--internal --subnet 10.7.0.0/24 inner",
		"--subnet 10.10.0.0/24 -o com.docker.network.bridge.enable_icc=false apart", "--subnet 10.11.0.0/24 -o com.docker.network.bridge.enable_ip_masquerade=false plain",
	} {
		do(f.h.Docker(f.ctx, append([]string{"network", "create"}, strings.Fields(network)...)...))
	}
	const services = "httpd -p 127.0.0.1:5000; httpd -f -p 5001 & exec sleep 1000"
	do(f.h.Docker(f.ctx, "run", "-d", "--name", "friend", "--network", "blue", "--ip", "10.8.0.8", "busybox", "sh", "-c", services))
	for _, container := range []string{
		"--name web --network blue --ip 10.8.0.9 --ip6 fd00:8::9 -p 8080:80 -p 127.0.0.1:8081:80 nginx", "--name qq --network red --ip 10.9.0.9 busybox sleep 1000",
		"--name ii --network inner busybox sleep 1000", "--name x1 --network apart busybox sleep 1000", "--name x2 --network apart busybox httpd -f",
		"--name bare --network plain busybox sleep 1000", "--name d1 busybox sleep 1000", "--name d2 busybox httpd -f",
	} {
		do(f.h.Docker(f.ctx, append([]string{"run", "-d"}, strings.Fields(container)...)...))
	}
	do(f.h.Docker(f.ctx, "run", "-d", "--name", "gone", "--network", "blue", "busybox", "sh", "-c", "exit 3"))
	do(f.h.Docker(f.ctx, "create", "--name", "late", "-p", "0.0.0.0:9090:80", "nginx"))
	f.listen(f.l.World().Machine, worldAddr4+":80")
	f.listen(f.h.Machine, "0.0.0.0:2222")
	f.words()
	id := do(f.h.Docker(f.ctx, "inspect", "-f", "{{.Id}}", "friend"))
	must0(f.t, inside(fmt.Sprintf("/proc/%d/root/run/netns/%.12s", f.h.PID(), id), func() error {
		udp, err := net.ListenPacket("udp4", ":5353")
		if err == nil {
			f.t.Cleanup(func() { _ = udp.Close() })
		}
		return err
	}))
}

// listen accepts connections at an address of a machine, until the test ends or what it returns is called.
func (f *faults) listen(m *Machine, at string) (end func()) {
	f.t.Helper()
	var l net.Listener
	must0(f.t, inside(fmt.Sprintf("/proc/%d/ns/net", m.PID()), func() (err error) {
		l, err = net.Listen("tcp4", netip.MustParseAddrPort(at).String())
		return err
	}))
	f.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	return func() { _ = l.Close() }
}

// words tells the shell of seeds who is where.
func (f *faults) words() {
	do := must(f.t)
	var out strings.Builder
	out.WriteString("set -e\n")
	for _, name := range []string{"web", "friend"} {
		id := do(f.h.Docker(f.ctx, "inspect", "-f", "{{.Id}}", name))
		fmt.Fprintf(&out, "%s() { nsenter --net=/run/netns/%.12s \"$@\"; }\n", name, id)
	}
	blue := do(f.h.Docker(f.ctx, "network", "inspect", "-f", "{{.Id}}", "blue"))
	fmt.Fprintf(&out, "export DOCKER_HOST=unix://%s WORLD=%s BEYOND=%s H1=%s BRIDGE=br-%.12s LINKSPAN=%s\n", f.h.Socket(), worldAddr4, beyondAddr4, f.h.Addr4, blue, f.cli)
	out.WriteString("pause() { docker pause $1; }\nunpause() { docker unpause $1; }\ninside() { docker exec $1 sh -c \"$2\"; }\n")
	out.WriteString(`crowd() {
	awk -v n="$(cat /proc/sys/net/netfilter/nf_conntrack_max)" 'BEGIN { for (i = 0; i < n; i++) printf "-A -s 10.%d.%d.%d -d 10.99.0.1 -p udp --sport 1000 --dport 53 -t 600 -u ASSURED\n", 100 + i/65536, i/256%256, i%256 }' >/run/crowd
	conntrack -R /run/crowd 2>/dev/null || :
	rm /run/crowd
}
`)
	f.base = out.String()
}

// shell runs words on the host.
func (f *faults) shell(t *testing.T, words string) {
	t.Helper()
	if words == "" {
		return
	}
	if _, err := f.h.Run(f.ctx, "bash", "-c", f.base+words); err != nil {
		t.Fatal(err)
	}
}

// report is what the command says.
type faultReport struct {
	Outcome, Verdict, Whose, WayOut string
	Steps                           []struct{ About, Status, Text string }
}

func (f *faults) ask(t *testing.T, trace string) (r faultReport) {
	t.Helper()
	trace = strings.NewReplacer("$WORLD", worldAddr4, "$BEYOND", beyondAddr4, "$H1", f.h.Addr4.String()).Replace(trace)
	args := append([]string{f.cli, "trace", "--format", "json", "--timeout", "300ms"}, strings.Fields(trace)...)
	out, err := f.h.Run(f.ctx, args...)
	if broken := json.Unmarshal([]byte(out), &r); broken != nil {
		t.Fatalf("%v\n%s\n%v", broken, out, err)
	}
	return r
}

// try seeds one fault, asks, and takes it back.
func (f *faults) try(t *testing.T, one fault) {
	f.shell(t, one.seed)
	if one.queue != "" {
		defer f.fill(one.queue)()
	}
	if one.hold != "" {
		defer f.listen(f.h.Machine, one.hold)()
	}
	if one.trace == "" {
		f.consult(t, one)
		f.shell(t, one.undo)
		return
	}
	r := f.ask(t, one.trace)
	f.shell(t, one.undo)
	if r.Outcome != "broken" || !regexp.MustCompile(one.want).MatchString(r.Verdict) || !regexp.MustCompile(one.whose).MatchString(r.Whose) {
		t.Errorf("%s: %s: %q, whose: %q\nwant %q, whose: %q\n%+v", one.trace, r.Outcome, r.Verdict, r.Whose, one.want, one.whose, r.Steps)
	}
}

// connections is how many connections the kernel can remember.
func (f *faults) connections() int {
	f.t.Helper()
	n, err := strconv.Atoi(must(f.t)(f.h.Run(f.ctx, "cat", "/proc/sys/net/netfilter/nf_conntrack_max")))
	must0(f.t, err)
	return n
}

// consult asks the doctor. What it finds besides what it always does must be the fault.
func (f *faults) consult(t *testing.T, one fault) {
	t.Helper()
	found := 0
	for _, x := range f.examine(t) {
		right := regexp.MustCompile(one.want).MatchString(x.Found) && regexp.MustCompile(one.whose).MatchString(x.Whose)
		switch {
		case f.known[x.Found]:
		case right:
			found++
		default:
			t.Errorf("blamed wrongly: %+v", x)
		}
	}
	if found == 0 {
		t.Errorf("not found: %s", one.want)
	}
}

type finding struct{ Check, Status, Found, Mend, Whose string }

// examine is what the doctor finds that is not right.
func (f *faults) examine(t *testing.T) (out []finding) {
	t.Helper()
	text, failed := f.h.Run(f.ctx, f.cli, "doctor", "--format", "json")
	var all []finding
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) < 10 {
		t.Fatalf("%v, %v\n%s", err, failed, text)
	}
	for _, x := range all {
		if x.Status != "ok" {
			out = append(out, x)
		}
	}
	return out
}

// fill opens connections from the host until no more are taken, and returns what closes them.
func (f *faults) fill(at string) func() {
	var all []net.Conn
	_ = inside(fmt.Sprintf("/proc/%d/ns/net", f.h.PID()), func() error { // ends with the first that is not taken
		for range 64 {
			conn, err := net.DialTimeout("tcp", at, 150*time.Millisecond)
			if err != nil {
				return err
			}
			all = append(all, conn)
		}
		return nil
	})
	return func() {
		for _, conn := range all {
			_ = conn.Close()
		}
	}
}

// healthy says that nothing is wrong where nothing is, and harmless oddities are not blamed.
func (f *faults) healthy(when string) {
	f.t.Helper()
	f.shell(f.t, "iptables -P FORWARD DROP")
	for _, trace := range []string{"friend web:80", "friend web", "friend [fd00:8::9]:80", "$WORLD $H1:8080", "host web:80", "host host:8080", "friend host:2222", "friend $H1:8080", "qq $WORLD:80", "friend $WORLD"} {
		if r := f.ask(f.t, trace); r.Outcome != "reachable" {
			f.t.Errorf("%s: %s: %s: %q, whose: %q\n%+v", when, trace, r.Outcome, r.Verdict, r.Whose, r.Steps)
		}
	}
	f.known = map[string]bool{}
	for _, x := range f.examine(f.t) {
		if f.known[x.Found] = true; x.Status == "wrong" {
			f.t.Errorf("%s: the doctor: %+v", when, x)
		}
	}
	f.shell(f.t, "iptables -P FORWARD ACCEPT")
}

func (f *faults) takeDown() {
	do := must(f.t)
	do(f.h.Docker(f.ctx, "rm", "-f", "web", "friend", "qq", "ii", "x1", "x2", "bare", "d1", "d2", "gone", "late"))
	do(f.h.Docker(f.ctx, "network", "rm", "blue", "red", "inner", "apart", "plain"))
}
