package investigate

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]target{
		"web": {"web", 0, ""}, "web:80": {"web", 80, model.TCP}, "web:53/UDP": {"web", 53, model.UDP}, "192.0.2.1": {"192.0.2.1", 0, ""},
		"192.0.2.1:80": {"192.0.2.1", 80, model.TCP}, "2001:db8::1": {"2001:db8::1", 0, ""}, "[2001:db8::1]:80": {"2001:db8::1", 80, model.TCP}, "[2001:db8::1]:5/sctp": {"2001:db8::1", 5, model.SCTP},
	} {
		if got, err := parseTarget(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ":80", "/udp", "web/udp", "web:0", "web:http", "web:80/gre", "web:65536", "[]:80"} {
		if got, err := parseTarget(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("web:80/udp")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseTarget(text); err == nil && (got.host == "" || (got.port == 0) != (got.protocol == "")) {
			t.Errorf("%q: %+v", text, got)
		}
	})
}

func FuzzHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost # a\n::1\tx web\n", "web")
	f.Fuzz(func(t *testing.T, text, name string) {
		for _, a := range hostsOf(text, name) {
			if !a.IsValid() || a.Is4In6() {
				t.Errorf("%q of %q: %v", name, text, a)
			}
		}
	})
}

// scene is a daemon with two containers, and a host on which all looks well.
type scene struct {
	dir    string
	probed []string
	asked  []string
	views  []evidence.ViewQuestion
}

func member(network, address string) privateapi.Member {
	return privateapi.Member{Network: network, NetworkID: network, Interface: "eth0", Up: true, Bridge: "br-" + network, Port: "veth" + address[len(address)-1:],
		Addresses: []privateapi.Address{{Address: netip.MustParsePrefix(address + "/24"), Gateway: netip.MustParseAddr("10.8.0.1")}}, Names: []string{"web", "www"}}
}

func (s *scene) State(context.Context) (privateapi.State, error) {
	return privateapi.State{
		Networks: []privateapi.Network{
			{ID: "blue", Name: "blue", Device: "br-blue", Named: true, Masquerades: true},
			{ID: "back", Name: "back", Named: true, Namespace: "/ov-back", Services: []privateapi.Service{{
				Address: netip.MustParseAddr("10.78.0.2"), Names: []string{"shop"}, Tasks: []privateapi.Task{
					{Name: "shop.1", Address: netip.MustParseAddr("10.78.0.5"), Ready: true}, {Name: "shop.2", Address: netip.MustParseAddr("10.78.0.6"), Ready: true},
				},
			}}},
		},
		Containers: []privateapi.Container{
			{ID: "1", Name: "a", Up: true, Namespace: "/a", Networks: []privateapi.Member{member("blue", "10.8.0.8")}},
			{ID: "2", Name: "web", Up: true, Namespace: "/web", Networks: []privateapi.Member{member("blue", "10.8.0.9")},
				Ports: []privateapi.Binding{{Protocol: "tcp", Host: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, ContainerPort: 80, Count: 1}}},
			{ID: "3", Name: "b", Up: true, Namespace: "/b", Networks: []privateapi.Member{member("back", "10.78.0.4")}},
			{ID: "4", Name: "shop.1", Up: true, Namespace: "/shop.1", Networks: []privateapi.Member{member("back", "10.78.0.5")}},
		},
	}, nil
}

func (s *scene) Container(ctx context.Context, ref string) (privateapi.Container, error) {
	all, _ := s.State(ctx)
	for _, c := range all.Containers {
		if c.ID == ref || c.Name == ref {
			c.State, c.ResolvConf, c.Hosts = "running", filepath.Join(s.dir, "resolv.conf"), filepath.Join(s.dir, "hosts")
			return c, nil
		}
	}
	return privateapi.Container{}, model.Errorf(model.NotFound, "No such container: %s", ref)
}

func (s *scene) Explain(_ context.Context, target, from, to string) (privateapi.Path, error) {
	s.asked = append(s.asked, strings.TrimSpace(target+" from "+from+" "+to))
	out := privateapi.Path{Outcome: "accepted", In: "veth8", Arrives: privateapi.Arrival{From: from, To: strings.Split(target, "/")[0]}}
	return out, nil
}

func (s *scene) PortUsers(context.Context, string) ([]privateapi.PortUser, error) { return nil, nil }
func (s *scene) Diff(context.Context) (privateapi.Drift, error)                   { return privateapi.Drift{}, nil }
func (s *scene) Host(context.Context, string, string) evidence.Host               { return evidence.Host{} }
func (s *scene) Descriptors(string, int) (evidence.Descriptors, error) {
	return evidence.Descriptors{}, nil
}

func (s *scene) Balanced(_ context.Context, namespace string, service netip.Addr) (map[netip.Addr]int, error) {
	s.asked = append(s.asked, fmt.Sprintf("buckets of %s in %s", service, namespace))
	return map[netip.Addr]int{netip.MustParseAddr("10.78.0.5"): 32, netip.MustParseAddr("10.78.0.6"): 32}, nil
}

func (s *scene) View(_ context.Context, q evidence.ViewQuestion) (evidence.View, error) {
	s.views = append(s.views, q)
	v := evidence.View{AddrsOn: map[netip.Addr]string{netip.MustParseAddr("192.0.2.1"): "up0", netip.MustParseAddr("10.8.0.1"): "br-blue"}, Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24"), netip.MustParsePrefix("192.0.2.1/24")}}
	if q.Namespace == "/a" {
		v.Route.Source = netip.MustParseAddr("10.8.0.8")
	}
	if q.Namespace == "/b" {
		v.Route.Source, v.Route.Link = netip.MustParseAddr("10.78.0.4"), "eth0"
	}
	return v, nil
}

func (s *scene) Probe(_ context.Context, q evidence.ProbeQuestion) evidence.Probe {
	s.probed = append(s.probed, fmt.Sprintf("%s %s from %s", q.Protocol, q.To, q.Namespace))
	return evidence.Probe{Result: evidence.ProbeConnected}
}

func (s *scene) Ask(_ context.Context, q evidence.NameQuestion) evidence.NameServer {
	out := evidence.NameServer{Server: q.Server, Answer: evidence.NoName}
	if q.Name == "web" || q.Name == "www" {
		out.Answer, out.Addrs = evidence.Answered, []netip.Addr{netip.MustParseAddr("10.8.0.9")}
	}
	if q.Name == "x.test" {
		out.Answer, out.Addrs = evidence.Answered, []netip.Addr{netip.MustParseAddr("203.0.113.9")}
	}
	return out
}

// TestPath: parties are found by what the user calls them, and the right questions are asked.
func TestPath(t *testing.T) {
	for _, c := range []struct {
		from, to           string
		kinds              string
		target, probe, ask string
	}{
		{"a", "web:80", "container web, container web", "10.8.0.9", "tcp 10.8.0.9:80 from /a", "10.8.0.9:80/tcp from 10.8.0.8"},
		{"a", "www:80", "container web, container web", "10.8.0.9", "tcp 10.8.0.9:80 from /a", "10.8.0.9:80/tcp from 10.8.0.8"}, // an alias
		{"a", "10.8.0.9", "container web, container web", "10.8.0.9", " 10.8.0.9:0 from /a", "10.8.0.9 from 10.8.0.8"},
		{"a", "host:22", "host , host ", "10.8.0.1", "tcp 10.8.0.1:22 from /a", "10.8.0.1:22/tcp from 10.8.0.8"},
		{"a", "x.test:443", "outside x.test, outside x.test", "203.0.113.9", "tcp 203.0.113.9:443 from /a", "203.0.113.9:443/tcp from 10.8.0.8"},
		{"outside", "host:8080", "host , container web", "192.0.2.1", "", "192.0.2.1:8080/tcp from"},
		{"outside", "192.0.2.1:8080", "host , container web", "192.0.2.1", "", "192.0.2.1:8080/tcp from"},
		{"203.0.113.7", "web:80", "container web, container web", "10.8.0.9", "", "10.8.0.9:80/tcp from 203.0.113.7"},
		// On a network over hosts the host's own rules are not asked.
		{"b", "10.78.0.5:80", "container shop.1, container shop.1", "10.78.0.5", "tcp 10.78.0.5:80 from /b", ""},
		{"b", "10.78.0.2:80", "service shop, service shop", "10.78.0.2", "tcp 10.78.0.2:80 from /b", "buckets of 10.78.0.2 in /ov-back"},
		{"a", "10.78.0.2:80", "service shop, service shop", "10.78.0.2", "tcp 10.78.0.2:80 from /a", "10.78.0.2:80/tcp from 10.8.0.8"},
		{"host", "web:80/udp", "container web, container web", "10.8.0.9", "udp 10.8.0.9:80 from ", "10.8.0.9:80/udp from localhost"},
	} {
		s := &scene{dir: t.TempDir()}
		for name, text := range map[string]string{"resolv.conf": "nameserver 127.0.0.11\n", "hosts": "127.0.0.1 localhost\n"} {
			if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d := daemonOf{s}
		p, err := Investigator{Daemon: d, Surveyor: s}.Path(t.Context(), c.from, c.to)
		if err != nil {
			t.Errorf("%s %s: %v", c.from, c.to, err)
			continue
		}
		kinds := fmt.Sprintf("%s %s, %s %s", p.To.Kind, p.To.Name, p.Gets().Kind, p.Gets().Name)
		if kinds != c.kinds || p.Target.String() != c.target || strings.Join(s.probed, ";") != c.probe || strings.Join(s.asked, ";") != c.ask {
			t.Errorf("%s %s:\n%s\n%s\n%q\n%q", c.from, c.to, kinds, p.Target, s.probed, s.asked)
		}
	}
	if _, err := (Investigator{Daemon: &scene{}, Surveyor: &scene{}}).Path(t.Context(), "nobody", "web"); model.KindOf(err) != model.NotFound {
		t.Errorf("a party that there is not: %v", err)
	}
}

// daemonOf translates port 8080 of the host, which web publishes.
type daemonOf struct{ *scene }

func (d daemonOf) Explain(ctx context.Context, target, from, to string) (privateapi.Path, error) {
	out, err := d.scene.Explain(ctx, target, from, to)
	if strings.Contains(target, ":8080/") {
		out.Arrives.To = "10.8.0.9:80"
	}
	return out, err
}

// TestOwnFiles: the host's resolv.conf is a link on many hosts.
func TestOwnFiles(t *testing.T) {
	dir := t.TempDir()
	plain, link := filepath.Join(dir, "stub"), filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(plain, []byte("nameserver 192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("stub", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{plain, link} {
		if got := read(own(path)); got != "nameserver 192.0.2.1\n" {
			t.Errorf("%s: %q", path, got)
		}
	}
	if got := read(own(filepath.Join(dir, "missing"))); got != "" {
		t.Errorf("a file that is not there: %q", got)
	}
}

// TestReadIsBounded: what a container left in the place of its file is not followed, nor
// waited for.
func TestReadIsBounded(t *testing.T) {
	dir := t.TempDir()
	link, plain := filepath.Join(dir, "link"), filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte(strings.Repeat("x", 2*maxFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(plain, link); err != nil {
		t.Fatal(err)
	}
	if got := len(read(plain)); got != maxFile {
		t.Errorf("%d bytes were read", got)
	}
	if got := read(link); got != "" {
		t.Errorf("a link was followed to %d bytes", len(got))
	}
}
