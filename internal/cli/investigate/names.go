package investigate

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
	"github.com/linkspan/linkspan/internal/resolvconf"
)

// findTarget says who is meant, by name or address, and where.
func (t *trace) findTarget(want target) error {
	text := want.host
	if a, err := netip.ParseAddr(text); err == nil || isHost(text) || isOutside(text) {
		if t.path.To, t.to, err = t.party(text); err != nil {
			return err
		}
		t.path.Target = a.Unmap()
		t.chooseTarget()
		return nil
	}
	party, record, err := t.container(text)
	switch {
	case err == nil:
		t.path.To, t.to = party, record
	case model.KindOf(err) != model.NotFound:
		return err
	case t.path.From.Kind == evidence.Outside:
		return err
	}
	isContainer := err == nil
	if isContainer && (text != party.Name || t.from == nil || t.from.Namespace == "") || !t.path.From.Running() || isContainer && !party.Running() {
		t.chooseTarget() // by its ID, or from where containers have no names
		return nil
	}
	t.lookUp(text)
	if isContainer {
		t.chooseTarget()
		return nil
	}
	t.byName(text)
	return nil
}

// byName takes whom the name led to for the target.
func (t *trace) byName(text string) {
	addrs := t.path.Names.Hosts
	for _, s := range t.path.Names.Servers {
		addrs = append(addrs, s.Addrs...)
	}
	t.path.To = evidence.Party{Kind: evidence.Outside, Name: text}
	if len(addrs) == 0 {
		return
	}
	if c, ok := t.holder(addrs[0]); ok {
		if party, record, err := t.container(c.ID); err == nil {
			t.path.To, t.to = party, record
		}
	} else if _, own := t.home.AddrsOn[addrs[0]]; own {
		t.path.To = evidence.Party{Kind: evidence.TheHost}
	}
	t.path.Target = addrs[0]
	t.meet()
}

// meet notes the network that both are on.
func (t *trace) meet() {
	for _, m := range t.path.From.Networks {
		for _, o := range t.path.To.Networks {
			if m.Network == o.Network && m.Up && o.Up && t.path.Meet == "" && (!t.path.Target.IsValid() || slices.Contains(o.Addrs, t.path.Target)) {
				t.path.Meet = m.Network
				if !t.path.Target.IsValid() {
					t.path.Target = common(m.Addrs, o.Addrs)
				}
			}
		}
	}
}

// common is the first address whose family the other side has too.
func common(of, addrs []netip.Addr) netip.Addr {
	for _, a := range addrs {
		if slices.ContainsFunc(of, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			return a
		}
	}
	return netip.Addr{}
}

// chooseTarget chooses the address that is tried, where the user has not.
func (t *trace) chooseTarget() {
	t.meet()
	if t.path.Target.IsValid() {
		return
	}
	switch {
	case t.path.To.Kind == evidence.Container && len(t.path.To.Networks) > 0:
		for _, m := range t.path.To.Networks {
			if m.Up && len(m.Addrs) > 0 && !t.path.Target.IsValid() {
				t.path.Target = m.Addrs[0]
			}
		}
	case t.path.To.Kind == evidence.Outside:
	case t.path.From.Kind == evidence.TheHost:
		t.path.Target = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		t.path.Target = t.hostAddress()
	}
}

// hostAddress is an address of this host as the sender knows it.
func (t *trace) hostAddress() netip.Addr {
	for _, m := range t.path.From.Networks {
		for _, g := range m.Gateways {
			if _, own := t.home.AddrsOn[g]; own {
				return g
			}
		}
	}
	for _, a := range t.home.Addrs {
		device := t.home.AddrsOn[a.Addr()]
		ours := slices.ContainsFunc(t.state.Networks, func(n privateapi.Network) bool { return n.Device == device })
		if !a.Addr().IsLoopback() && !a.Addr().IsLinkLocalUnicast() && !ours {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// maxFile bounds what is read of a container's files, in bytes: it wrote them itself.
const maxFile = 64 << 10

// read reads the beginning of a plain file. A link at its end is not followed, and whatever
// else is there is not waited for.
func read(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, maxFile)) // what can be read counts
	return string(text)
}

// own is where a file of the host's leads: its links are its administrator's, and followed.
func own(path string) string {
	if at, err := filepath.EvalSymlinks(path); err == nil {
		return at
	}
	return path
}

// hostsOf is what a hosts(5) file says of a name.
func hostsOf(text, name string) (out []netip.Addr) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 || !slices.ContainsFunc(words[1:], func(w string) bool { return strings.EqualFold(w, name) }) {
			continue
		}
		if a, err := netip.ParseAddr(words[0]); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// resolver is where an engine's resolver answers in a container.
var resolver = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// maxServers bounds whom is asked, as the C library does.
const maxServers = 3

// lookUp looks a name up as the sender would: in its hosts, then by its name servers.
func (t *trace) lookUp(name string) {
	n := &t.path.Names
	n.Name = name
	hosts, conf := own("/etc/hosts"), own(resolvconf.Path)
	namespace := ""
	if t.from != nil {
		hosts, conf, namespace = t.from.Hosts, t.from.ResolvConf, t.from.Namespace
		n.Expected = slices.ContainsFunc(t.path.From.Networks, func(m evidence.Membership) bool { return m.Named })
	}
	if hosts == "" || conf == "" {
		n.Err = "its files are not known"
		return
	}
	c := resolvconf.Parse([]byte(read(conf)))
	n.Hosts = hostsOf(read(hosts), name)
	n.Ours = slices.Contains(c.Servers, resolver)
	n.Servers = t.ask(namespace, c.Servers, name)
	if n.Ours && len(n.Hosts) == 0 && t.path.To.Kind == "" {
		n.Upstreams = t.upstreams(name)
	}
	for _, domain := range c.Search {
		if strings.Contains(name, ".") || slices.ContainsFunc(n.Servers, func(s evidence.NameServer) bool { return s.Answer == evidence.Answered }) || domain == "." {
			break
		}
		if found := t.ask(namespace, c.Servers, name+"."+domain); slices.ContainsFunc(found, func(s evidence.NameServer) bool { return s.Answer == evidence.Answered }) {
			n.Servers = found
		}
	}
}

// ask asks all at once.
func (t *trace) ask(namespace string, servers []netip.Addr, name string) []evidence.NameServer {
	servers = servers[:min(len(servers), maxServers)]
	out := make([]evidence.NameServer, len(servers))
	var wait sync.WaitGroup
	for i, server := range servers {
		wait.Go(func() {
			out[i] = t.Surveyor.Ask(t.ctx, evidence.NameQuestion{Namespace: namespace, Server: server, Name: name, Timeout: t.patience()})
		})
	}
	wait.Wait()
	return out
}

// upstreams are those that the engine's resolver would ask about a name outside.
func (t *trace) upstreams(name string) []evidence.NameServer {
	if len(t.from.Servers) > 0 {
		return t.ask(t.from.Namespace, t.from.Servers, name)
	}
	return t.ask("", hostServers(), name)
}

// hostServers are the name servers of this host; those behind the stub of
// systemd-resolved, if nobody else is named.
func hostServers() []netip.Addr {
	c := resolvconf.Parse([]byte(read(own(resolvconf.Path))))
	if c.OnlyStub() {
		if behind := read(own(resolvconf.SystemdPath)); behind != "" {
			c = resolvconf.Parse([]byte(behind))
		}
	}
	return c.Servers
}
