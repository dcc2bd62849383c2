package source

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/conformance/netplugin"
	"github.com/linkspan/linkspan/conformance/report"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plugins"
)

// judged is a source whose plugin is a checker.
type judged struct {
	*Source
	*netplugin.Checker
	refuses string // the method that is refused
}

func newJudged(t *testing.T) *judged {
	t.Helper()
	folder, err := os.MkdirTemp("", "judge") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	l, err := net.Listen("unix", filepath.Join(folder, "lab.sock"))
	if err != nil {
		t.Fatal(err)
	}
	j := &judged{}
	driver := &netplugin.Driver{RequiresMAC: true}
	j.Checker = netplugin.NewChecker(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if j.refuses != "" && strings.HasSuffix(r.URL.Path, j.refuses) {
			http.Error(w, `{"Err":"not today"}`, http.StatusInternalServerError)
			return
		}
		driver.ServeHTTP(w, r)
	}))
	server := httptest.NewUnstartedServer(j.Checker)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	j.Source, err = Open(Options{
		Plugins: plugins.New(plugins.Options{Places: plugins.Places{Sockets: folder}, Patience: 20 * time.Millisecond}), Folder: t.TempDir(),
		Drivers: []string{"bridge"}, IPAM: []string{"", "default"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Source.Close)
	return j
}

func (j *judged) keeps(t *testing.T, skipped int) {
	t.Helper()
	results := j.Results(true)
	if s := report.Sum(results); s.BrokenMust+s.BrokenShould > 0 || s.Skipped > skipped {
		var out strings.Builder
		report.Print(&out, "engine", results, true)
		t.Errorf("%s", out.String())
	}
}

// TestProtocolIsKept: what is asked in the life of a network and an endpoint breaks no rule of the protocol.
func TestProtocolIsKept(t *testing.T) {
	j := newJudged(t)
	n := aNetwork()
	n.Wished.IPAM.Pools = []model.Pool{{Subnet: netip.MustParsePrefix("10.201.0.0/24"), Range: netip.MustParsePrefix("10.201.0.128/25"), Aux: map[string]netip.Addr{"printer": netip.MustParseAddr("10.201.0.9")}}}
	network, err := j.Ask(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Ask(t.Context(), anEndpoint()); err != nil {
		t.Fatal(err)
	}
	out := anEndpoint()
	out.Outward = &facts.Outward{Gateway4: true}
	endpoint, err := j.Ask(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []facts.Fact{endpoint, network} {
		if err := j.Return(t.Context(), f, nil); err != nil {
			t.Fatal(err)
		}
	}
	j.keeps(t, 1) // nobody is told of nodes
}

// TestProtocolIsKeptAfterRefusals: whatever a plugin refuses, what it did before is taken back, in the order of the protocol.
func TestProtocolIsKeptAfterRefusals(t *testing.T) {
	for _, method := range []string{"RequestPool", "RequestAddress", "CreateNetwork", "CreateEndpoint", "Join", "EndpointOperInfo", "ProgramExternalConnectivity", "Leave", "DeleteEndpoint"} {
		j := newJudged(t)
		takesBack := method == "Leave" || method == "DeleteEndpoint"
		if !takesBack && method != "CreateEndpoint" && method != "Join" {
			j.refuses = method
		}
		network, err := j.Ask(t.Context(), aNetwork())
		if err != nil {
			j.keeps(t, len(j.Results(true)))
			continue
		}
		j.refuses = method
		endpoint, err := j.Ask(t.Context(), anEndpoint())
		if err == nil && method == "ProgramExternalConnectivity" {
			out := anEndpoint()
			out.Outward = &facts.Outward{Gateway4: true}
			if _, err := j.Ask(t.Context(), out); err == nil {
				t.Errorf("%s is refused, and nobody is told", method)
			}
		}
		if err == nil {
			if err := j.Return(t.Context(), endpoint, nil); err != nil {
				t.Errorf("%s: %v", method, err)
			}
		}
		if takesBack {
			continue // the plugin keeps it, and was told
		}
		if err := j.Return(t.Context(), network, nil); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		j.keeps(t, len(j.Results(true)))
	}
}
