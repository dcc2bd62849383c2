package source

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plugins"
	"github.com/linkspan/linkspan/internal/plugins/plugintest"
)

var (
	networkID  = model.NetworkID(strings.Repeat("a", 64))
	endpointID = model.EndpointID(strings.Repeat("b", 64))
)

// bench is a source and a plugin called lab.
type bench struct {
	*Source
	plugin *plugintest.Plugin
	folder string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	p := plugintest.New(t, "lab")
	p.Say("NetworkDriver.GetCapabilities", map[string]any{"Scope": "local"})
	p.Say("IpamDriver.RequestPool", map[string]any{"PoolID": "p1", "Pool": "10.200.0.0/24"})
	next := 0
	p.Say("IpamDriver.RequestAddress", func(raw json.RawMessage) any {
		var q struct{ Address string }
		json.Unmarshal(raw, &q)
		if next++; q.Address == "" {
			q.Address = fmt.Sprintf("10.200.0.%d", next)
		}
		return map[string]any{"Address": q.Address + "/24"}
	})
	p.Say("NetworkDriver.Join", map[string]any{"InterfaceName": map[string]any{"SrcName": "rc1", "DstPrefix": "eth"}, "Gateway": "10.200.0.1"})
	p.Start(t)
	b := &bench{plugin: p, folder: t.TempDir()}
	b.open(t)
	return b
}

// open opens the source on its journal, as a daemon that starts does.
func (b *bench) open(t *testing.T) {
	t.Helper()
	s, err := Open(Options{
		Plugins: plugins.New(plugins.Options{Places: b.plugin.Places, Patience: 20 * time.Millisecond}), Folder: b.folder,
		Drivers: []string{"bridge"}, IPAM: []string{"", "default"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Source = s
	t.Cleanup(s.Close)
}

func aNetwork() facts.Question {
	n := model.Network{ID: networkID, Name: "web", Driver: "lab", IPv4: true, IPAM: model.IPAM{Driver: "lab"}, Options: map[string]string{"colour": "green"}}
	return facts.Question{Network: n, Wished: n}
}

func anEndpoint() facts.Question {
	q := aNetwork()
	q.Endpoint = model.Endpoint{ID: endpointID, Network: networkID}
	q.Sandbox = model.Sandbox{Name: "c1", Container: "c1c1", Publish: []model.PortSpec{{Protocol: model.TCP, Container: model.Port(80), HostPorts: model.Port(8080)}}}
	q.Families = []model.Family{model.IPv4}
	return q
}

func (b *bench) ask(t *testing.T, q facts.Question) facts.Fact {
	t.Helper()
	f, err := b.Ask(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// left are the files of the journal.
func (b *bench) left(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(b.folder)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func (b *bench) called(t *testing.T, want ...string) {
	t.Helper()
	got := slices.DeleteFunc(b.plugin.Calls(), func(m string) bool {
		return strings.HasSuffix(m, "GetCapabilities") || strings.HasSuffix(m, "Activate") || strings.HasSuffix(m, "GetDefaultAddressSpaces")
	})
	for i := range got {
		_, got[i], _ = strings.Cut(got[i], ".")
	}
	if !slices.Equal(got, want) {
		t.Errorf("called were %q, want %q", got, want)
	}
}

// TestLife goes through all that a network and an endpoint have to do with plugins.
func TestLife(t *testing.T) {
	b := newBench(t)
	n := b.ask(t, aNetwork()).(facts.Network)
	if len(n.Pools) != 1 || n.Pools[0].Subnet.String() != "10.200.0.0/24" || n.Pools[0].Gateway.String() != "10.200.0.1" || n.Scope != "local" {
		t.Errorf("network %+v", n)
	}
	if got := b.plugin.Last("NetworkDriver.CreateNetwork"); !strings.Contains(got, `"Gateway":"10.200.0.1/24"`) || !strings.Contains(got, `"com.docker.network.generic":{"colour":"green"}`) {
		t.Error(got)
	}
	b.called(t, "RequestPool", "RequestAddress", "CreateNetwork")
	e := b.ask(t, anEndpoint()).(facts.Endpoint)
	if e.Addr4 != netip.MustParsePrefix("10.200.0.2/24") || e.Joined.Link != "rc1" || e.Gateway4.String() != "10.200.0.1" {
		t.Errorf("endpoint %+v", e)
	}
	b.called(t, "RequestAddress", "CreateEndpoint", "Join", "EndpointOperInfo")
	q := anEndpoint()
	q.Outward = &facts.Outward{Gateway4: true}
	out := b.ask(t, q).(facts.Endpoint)
	if got := b.plugin.Last("NetworkDriver.ProgramExternalConnectivity"); !strings.Contains(got, `"Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8080`) {
		t.Error(got)
	}
	if err := b.Return(t.Context(), out, e); err != nil { // what asked for it did not happen
		t.Error(err)
	}
	b.called(t, "ProgramExternalConnectivity", "RevokeExternalConnectivity")
	b.ask(t, q)
	b.Close()
	b.open(t)
	if answers, err := b.Answers(t.Context()); err != nil || len(answers) != 2 || !answers[1].(facts.Endpoint).Joined.Outward.Gateway4 {
		t.Errorf("after a restart: %+v, %v", answers, err)
	}
	b.plugin.Calls()
	for _, f := range []facts.Fact{out, n, out} { // twice is the same as once
		if err := b.Return(t.Context(), f, nil); err != nil {
			t.Error(err)
		}
	}
	b.called(t, "RevokeExternalConnectivity", "Leave", "DeleteEndpoint", "ReleaseAddress", "ReleaseAddress", "ReleasePool", "DeleteNetwork")
	if b.left(t) != 0 {
		t.Error("the journal is not empty")
	}
}

// TestRefusals: of what a plugin refuses nothing is left with it.
func TestRefusals(t *testing.T) {
	for method, undone := range map[string][]string{
		"NetworkDriver.CreateNetwork":  {"RequestPool", "RequestAddress", "CreateNetwork", "ReleaseAddress", "ReleasePool"},
		"IpamDriver.RequestPool":       {"RequestPool"},
		"IpamDriver.RequestAddress":    {"RequestPool", "RequestAddress", "ReleasePool"},
		"NetworkDriver.CreateEndpoint": {"RequestAddress", "CreateEndpoint", "CreateNetwork", "CreateEndpoint", "ReleaseAddress"},
		"NetworkDriver.Join":           {"RequestAddress", "CreateEndpoint", "Join", "DeleteEndpoint", "ReleaseAddress"},
	} {
		t.Run(method, func(t *testing.T) {
			b := newBench(t)
			q, left := aNetwork(), 0
			if strings.Contains(method, "Endpoint") || strings.Contains(method, "Join") {
				b.ask(t, q)
				q, left = anEndpoint(), 1
			}
			b.plugin.Calls()
			b.plugin.Say(method, map[string]any{"Err": "not today", "Error": "not today"})
			if _, err := b.Ask(t.Context(), q); err == nil || !strings.Contains(err.Error(), "remote: not today") || model.KindOf(err) != model.Unfit {
				t.Errorf("error %v", err)
			}
			b.called(t, undone...)
			if b.left(t) != left {
				t.Errorf("%d files are left", b.left(t))
			}
		})
	}
}

// TestOwed: what a plugin that is away could not be told it is told when it is back, also
// by another daemon.
func TestOwed(t *testing.T) {
	b := newBench(t)
	n := b.ask(t, aNetwork())
	e := b.ask(t, anEndpoint())
	b.plugin.Stop()
	for _, f := range []facts.Fact{e, n} {
		if err := b.Return(t.Context(), f, nil); err != nil {
			t.Error(err)
		}
	}
	b.Close()
	b.plugin.Calls()
	b.plugin.Start(t)
	b.open(t)
	if answers, _ := b.Answers(t.Context()); len(answers) != 0 {
		t.Errorf("what is owed is answered: %v", answers)
	}
	for deadline := time.Now().Add(20 * time.Second); b.left(t) > 0; time.Sleep(10 * time.Millisecond) { // until the condition holds
		if time.Now().After(deadline) {
			t.Fatal("it is owed still")
		}
	}
	b.called(t, "Leave", "DeleteEndpoint", "ReleaseAddress", "ReleaseAddress", "ReleasePool", "DeleteNetwork")
}

// TestNobodyThere: a plugin that is none is not found.
func TestNobodyThere(t *testing.T) {
	b := newBench(t)
	q := aNetwork()
	q.Network.Driver = "nobody"
	if _, err := b.Ask(t.Context(), q); model.KindOf(err) != model.NotFound || err.Error() != `plugin "nobody" not found` || b.left(t) != 0 {
		t.Errorf("error %v", err)
	}
}

// TestReplay: a plugin that says that it forgets is asked again for what it gave.
func TestReplay(t *testing.T) {
	b := newBench(t)
	b.plugin.Say("IpamDriver.GetCapabilities", map[string]any{"RequiresRequestReplay": true, "RequiresMACAddress": true})
	b.ask(t, aNetwork())
	e := b.ask(t, anEndpoint()).(facts.Endpoint)
	if e.MAC == "" || !strings.Contains(b.plugin.Last("IpamDriver.RequestAddress"), e.MAC) {
		t.Errorf("its MAC address is %q", e.MAC)
	}
	b.Close()
	b.plugin.Calls()
	b.open(t)
	if _, err := b.asIPAM(t.Context(), "lab"); err != nil {
		t.Fatal(err)
	}
	b.called(t, "RequestPool", "RequestAddress", "RequestAddress")
}

// TestOverlap: subnets that the host reaches already are not taken.
func TestOverlap(t *testing.T) {
	b := newBench(t)
	given := 0
	b.plugin.Say("IpamDriver.RequestPool", func(json.RawMessage) any {
		given++
		return map[string]any{"PoolID": fmt.Sprint("p", given), "Pool": fmt.Sprintf("10.200.%d.0/24", given)}
	})
	q := aNetwork()
	q.Avoid = []netip.Prefix{netip.MustParsePrefix("10.200.0.0/22")}
	if n := b.ask(t, q).(facts.Network); n.Pools[0].Subnet.String() != "10.200.4.0/24" {
		t.Errorf("subnet %s", n.Pools[0].Subnet)
	}
	b.called(t, "RequestPool", "RequestPool", "RequestPool", "RequestPool", "ReleasePool", "ReleasePool", "ReleasePool", "RequestAddress", "CreateNetwork")
}

// TestHangs: a plugin that does not answer holds nobody longer than he wants to wait.
func TestHangs(t *testing.T) {
	b := newBench(t)
	hangs := make(chan struct{})
	defer close(hangs)
	b.plugin.Say("NetworkDriver.CreateNetwork", func(json.RawMessage) any { <-hangs; return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.Ask(ctx, aNetwork()); err == nil {
		t.Error("it answered")
	}
}
