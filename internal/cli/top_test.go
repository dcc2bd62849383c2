package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/privateapi"
)

func sample() privateapi.Top {
	flow := func(n uint64) privateapi.Flow {
		return privateapi.Flow{Bytes: 10 * n, Packets: n, BytesPerSecond: float64(n), PacketsPerSecond: float64(n) / 10}
	}
	return privateapi.Top{
		Version: 1, Seconds: 1,
		Containers: []privateapi.TopContainer{
			{Container: "idle", Network: "web", Interface: "eth0"},
			{Container: "busy", Network: "web", Interface: "eth0", In: flow(2000), Out: flow(10)},
			{Container: "evil\x1b[2J", Network: "web", Interface: "eth1", Out: flow(5)},
		},
		Networks: []privateapi.TopNetwork{{Network: "quiet"}, {Network: "web", Containers: 3, In: flow(2000), Out: flow(15)}},
		Ports: []privateapi.TopPort{
			{Container: "idle", Protocol: "tcp", ContainerPorts: "80"},
			{Container: "busy", Protocol: "tcp", Address: "0.0.0.0", HostPorts: "8080", Counted: true, Both: flow(2010), Connections: 7, ConnectionsPerSecond: 0.5},
		},
	}
}

func TestTopTable(t *testing.T) {
	s := sample()
	sortTop(&s, sortRate)
	got := strings.Split(topTable(s), "\n")
	for i, want := range []string{
		"CONTAINER NETWORK INTERFACE IN/s OUT/s PACKETS IN/s PACKETS OUT/s IN OUT",
		"busy web eth0 2kB 10B 200 1 20kB 100B",
		`evil\x1b[2J web eth1 0B 5B 0 0 0B 50B`,
		"idle web eth0 0B 0B 0 0 0B 0B",
		"",
		"NETWORK CONTAINERS IN/s OUT/s PACKETS IN/s PACKETS OUT/s IN OUT",
		"web 3 2kB 15B 200 2 20kB 150B",
		"quiet 0 0B 0B 0 0 0B 0B",
		"",
		"PORT CONTAINER TRAFFIC/s PACKETS/s CONNECTIONS/s TRAFFIC CONNECTIONS",
		"0.0.0.0:8080/tcp busy 2.01kB 201 0.5 20.1kB 7",
		"routed 80/tcp idle - - - - -",
	} {
		if i >= len(got) || strings.Join(strings.Fields(got[i]), " ") != want {
			t.Errorf("line %d: want %q in\n%s", i, want, strings.Join(got, "\n"))
		}
	}
	if sortTop(&s, sortName); s.Containers[2].Container != "idle" || s.Networks[0].Network != "quiet" {
		t.Errorf("by name: %+v", s)
	}
}

// TestTopRedraws: a picture replaces the one before it, and is never longer than the screen.
func TestTopRedraws(t *testing.T) {
	if got, want := redraw("a\nb\nc\n", 3), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"; got != want {
		t.Errorf("%q", got)
	}
	if got, want := redraw("a\n", 0), "\x1b[Ha\x1b[K\n\x1b[J"; got != want {
		t.Errorf("%q", got)
	}
}

func TestTop(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /linkspan/v1/top", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("interval") {
		case "1m0s":
			http.Error(w, "no kernel", http.StatusInternalServerError)
			return
		case "2s":
			w.Write([]byte(`{"Error":"gone"}` + "\n")) //nolint:errcheck // to a test
			return
		}
		for range 2 {
			json.NewEncoder(w).Encode(sample()) //nolint:errcheck // to a test
		}
	})
	socket := serve(t, mux)
	for _, c := range []struct {
		command   string
		status    int
		out, errs string
	}{
		{"top --once --format {{len_.Containers}}", 0, "3\n", ""},
		{"top --once --sort name --format {{(index_.Networks_0).Network}}", 0, "quiet\n", ""},
		{"top --format {{len_.Containers}}", 2, "3\n3\n", "linkspan: the daemon is away: it has ended the answer"},
		{"top --once --interval 1m", 2, "", "linkspan: no kernel"},
		{"top --once --interval 2s", 2, "", "linkspan: gone"},
		{"top --once --sort odd", 2, "", `linkspan: invalid --sort: "odd"`},
	} {
		status, out, errs := run(t, "--socket "+socket+" "+c.command)
		if status != c.status || out != c.out || !strings.HasPrefix(errs, c.errs) {
			t.Errorf("%s: status %d, output %q, errors %q", c.command, status, out, errs)
		}
	}
	_, out, _ := run(t, "--socket "+socket+" top --format json --interval "+(3*time.Second).String())
	if lines := bytes.Count([]byte(out), []byte("\n")); lines != 2 || !strings.HasPrefix(out, `{"Version":1`) {
		t.Errorf("a sample a line: %q", out)
	}
}
