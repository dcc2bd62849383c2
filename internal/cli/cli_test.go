package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	dockercommand "github.com/docker/cli/cli/command"
)

// daemon answers on a socket like a daemon whose kernel has drift differences.
func daemon(t *testing.T, drift int) (socket string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /linkspan/v1/plan", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "the plan") })
	mux.HandleFunc("GET /linkspan/v1/diff", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Linkspan-Drift", fmt.Sprint(drift))
		if r.URL.Query().Get("format") == "json" {
			fmt.Fprintf(w, `{"Differences":["a","b"],"Writes":%d}`, drift)
			return
		}
		fmt.Fprintf(w, "%d differences\n", drift)
	})
	mux.HandleFunc("GET /linkspan/v1/state", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"Version":1}`) })
	mux.HandleFunc("GET /linkspan/v1/firewall", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `[{"Name":"a","Query":%q},{"Name":"b"}]`, r.URL.RawQuery)
	})
	mux.HandleFunc("POST /linkspan/v1/resync", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "refused", http.StatusInternalServerError) })
	mux.HandleFunc("GET /linkspan/v1/ports", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "the ports") })
	mux.HandleFunc("GET /linkspan/v1/ports/{port}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "who has "+r.PathValue("port")) })
	mux.HandleFunc("GET /linkspan/v1/drops", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "the drops") })
	mux.HandleFunc("GET /linkspan/v1/drops/{container}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "drops of "+r.PathValue("container")) })
	return serve(t, mux)
}

// serve answers at a unix socket until the test ends.
func serve(t *testing.T, h http.Handler) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "test.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
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
		{clean, "network repair", 2, "", "linkspan: 500 Internal Server Error: refused"},
		{dirty, "network diff --format {{len_.Differences}}_{{.Writes}}", 1, "2 2\n", ""},
		{dirty, "network diff --format json", 1, "{\n    \"Differences\": [\n        \"a\",\n        \"b\"\n    ],\n    \"Writes\": 2\n}\n", ""},
		{clean, "network diff --format {{", 2, "", "linkspan: template parsing error"},
		{clean, "network plan --format json", 2, "", "linkspan: the daemon's answer cannot be read"},
		{clean, "state --format {{.Version}}", 0, "1\n", ""},
		{clean, "firewall show --format {{.Name}}{{.Query}}", 0, "aformat=json\nb<no value>\n", ""},
		{clean, "port ls", 0, "the ports\n", ""},
		{clean, "port who 8080", 0, "who has 8080\n", ""},
		{clean, "port who a/b", 0, "who has a/b\n", ""},
		{clean, "port who", 1, "", "linkspan: 'linkspan port who' requires 1 argument"},
		{clean, "port ls 8080", 1, "", "linkspan: 'linkspan port ls' accepts no arguments"},
		{clean, "port drops", 0, "the drops\n", ""},
		{clean, "port inspect web", 0, "drops of web\n", ""},
		{clean, "network odd", 1, "", "linkspan: unknown command: linkspan network odd"},
		{clean, "odd", 1, "", "linkspan: unknown command: linkspan odd"},
		{clean, "--odd", 125, "", "unknown flag: --odd"},
		{"/does/not/exist", "network plan", 2, "", "Is the daemon running"},
	} {
		status, out, errs := run(t, "--socket "+c.socket+" "+c.command)
		if status != c.status || out != c.out || !strings.HasPrefix(errs, c.errs) && !strings.Contains(errs, "\n"+c.errs) {
			t.Errorf("%s: status %d, output %q, errors %q", c.command, status, out, errs)
		}
	}
}

// run runs a command, and fails the test if it waits for input.
func run(t *testing.T, command string) (status int, out, errs string) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	var stdout, stderr strings.Builder
	p := Program{Version: "1.2.3", Args: words(command), Streams: []dockercommand.CLIOption{
		dockercommand.WithInputStream(io.NopCloser(strings.NewReader(""))),
		dockercommand.WithOutputStream(&stdout), dockercommand.WithErrorStream(&stderr),
	}}
	status = p.Run(t.Context())
	return status, stdout.String(), stderr.String()
}

// words are those of a command; of a template, "_" stands for a space.
func words(command string) []string {
	out := strings.Fields(command)
	for i, w := range out {
		if strings.HasPrefix(w, "{{") {
			out[i] = strings.ReplaceAll(w, "_", " ")
		}
	}
	return out
}

// TestDockerCommands plays docker's commands against an engine that has one
// container, which is named as a verb of ours is not.
func TestDockerCommands(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.44") })
	mux.HandleFunc("/v1.44/containers/web/json", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"Id":"1","NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]}}}`)
	})
	mux.HandleFunc("/v1.44/networks", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[{"Name":"blue","Id":"2"}]`) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"message":"no %s"}`, r.URL.Path)
	})
	socket := serve(t, mux)

	for _, c := range []struct {
		command   string
		status    int
		out, errs string
	}{
		{"port web", 0, "80/tcp -> 0.0.0.0:8080\n", ""},
		{"network ls --format {{.Name}}", 0, "blue\n", ""},
		{"network rm red", 1, "", "Error response from daemon: no /v1.44/networks/red\nexit status 1"},
		{"--version", 0, "Linkspan version 1.2.3\n", ""},
		{"run --restart", 125, "", "flag needs an argument: --restart"},
	} {
		status, out, errs := run(t, "--host unix://"+socket+" "+c.command)
		if status != c.status || out != c.out || !strings.HasPrefix(errs, c.errs) {
			t.Errorf("%s: status %d, output %q, errors %q", c.command, status, out, errs)
		}
	}
}

// TestHelp looks for our commands among docker's.
func TestHelp(t *testing.T) {
	for command, wanted := range map[string][]string{
		"":             {"\n  run  ", "\n  state  ", "\n  network  "},
		"network":      {"\n  plan  ", "\n  diff  ", "\n  repair  ", "\n  connect  "},
		"port --help":  {"\n  ls  ", "\n  who  ", "\n  drops  ", "\n  inspect  "},
		"help network": {"\n  plan  "},
	} {
		_, out, errs := run(t, command)
		for _, w := range wanted {
			if !strings.Contains(out+errs, w) {
				t.Errorf("linkspan %s: no %q in %s%s", command, w, out, errs)
			}
		}
	}
}
