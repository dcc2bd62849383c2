package cli

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// daemon answers on a socket like a daemon whose kernel has drift differences.
func daemon(t *testing.T, drift int) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "private.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /linkspan/v1/plan", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "the plan") })
	mux.HandleFunc("GET /linkspan/v1/diff", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Linkspan-Drift", fmt.Sprint(drift))
		fmt.Fprintf(w, "%d differences\n", drift)
	})
	mux.HandleFunc("POST /linkspan/v1/resync", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "refused", http.StatusInternalServerError) })
	mux.HandleFunc("GET /linkspan/v1/ports", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "the ports") })
	mux.HandleFunc("GET /linkspan/v1/ports/{port}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "who has "+r.PathValue("port")) })
	server := &http.Server{Handler: mux}
	go server.Serve(l) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { server.Close() })
	return socket
}

func TestVerbs(t *testing.T) {
	clean, dirty := daemon(t, 0), daemon(t, 2)
	for _, c := range []struct {
		socket, command string
		status          int
		out, errs       string
	}{
		{clean, "network plan", 0, "the plan\n", ""},
		{clean, "network diff", 0, "0 differences\n", ""},
		{dirty, "network diff", 1, "2 differences\n", ""},
		{clean, "network repair", 2, "", "500 Internal Server Error: refused"},
		{clean, "port ls", 0, "the ports\n", ""},
		{clean, "port who 8080", 0, "who has 8080\n", ""},
		{clean, "port who a/b", 0, "who has a/b\n", ""},
		{clean, "port who", 2, "", `unknown command "port who"`},
		{clean, "port ls 8080", 2, "", `unknown command "port ls 8080"`},
		{clean, "network odd", 2, "", `unknown command "network odd"`},
		{clean, "", 2, "", "Usage: linkspan"},
		{"/does/not/exist", "network plan", 2, "", "Is the daemon running"},
	} {
		var out, errs strings.Builder
		status := Run(t.Context(), append([]string{"--socket", c.socket}, strings.Fields(c.command)...), &out, &errs)
		if status != c.status || out.String() != c.out || !strings.Contains(errs.String(), c.errs) {
			t.Errorf("%s: status %d, output %q, errors %q", c.command, status, out.String(), errs.String())
		}
	}
}
