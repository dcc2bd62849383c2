package dockerapi

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	containerhub "github.com/linkspan/linkspan/internal/containers"
)

// needClient is the path of the stock docker client: the one that $DOCKER names, as "make test" does, else the one on PATH.
func needClient(t *testing.T) string {
	t.Helper()
	client := os.Getenv("DOCKER")
	if client == "" {
		client = "docker"
	}
	path, err := exec.LookPath(client)
	if err != nil {
		t.Skipf("there is no docker command: %v", err)
	}
	return path
}

// docker runs the client against a door.
func docker(t *testing.T, client, socket, stdin string, args ...string) (output string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, client, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+socket, "DOCKER_CONFIG="+t.TempDir(), "DOCKER_CLI_HINTS=false")
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// TestDockerCommand: the stock client understands every answer.
func TestDockerCommand(t *testing.T) {
	client := needClient(t)
	b := newBench(t)
	b.inspect = inspected()
	socket, _ := serve(t, b)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"version --format {{.Server.Version}}/{{.Server.MinAPIVersion}}", 0, "29.7.2+linkspan.0.1.0/1.24"},
		{"version", 0, "Engine:"},
		{"info", 0, "Live Restore Enabled: true"},
		{"network create --subnet 10.9.0.0/24 --gateway 10.9.0.254 --label a=b full", 0, ""},
		{"network create full", 1, "network with name full already exists"},
		{"network create x --subnet 10.8.0.5/24", 1, "invalid subnet 10.8.0.5/24: it should be 10.8.0.0/24"},
		{"network create -d overlay x", 1, "This node is not a swarm manager"},
		{"network ls --format {{.Name}}:{{.Driver}}:{{.Scope}}", 0, "bridge:bridge:local\nfull:bridge:local\nhost:host:local\nnone:null:local\n"},
		{"network ls --filter odd=1", 1, "invalid filter 'odd'"},
		{"network inspect full", 0, `"Gateway": "10.9.0.254"`},
		{"network inspect nobody", 1, "network nobody not found"},
		{"network connect --ip 10.9.0.9 --alias x full web", 0, ""},
		{"network disconnect --force full web", 0, ""},
		{"network rm --force nobody", 0, ""},
		{"network prune --force", 0, "full"},
		{"ps -a", 0, "CONTAINER ID"},
		{"images", 0, "busybox"},
		{"image inspect busybox", 0, `"RepoTags"`},
		{"image rm busybox", 0, "Untagged: busybox"},
		{"inspect web --format {{.NetworkSettings.Networks.bridge.IPAddress}}", 0, "172.17.0.2"},
		{"volume ls", 0, "DRIVER"},
		{"system df", 0, "Images"},
		{"system prune --force", 0, "Total reclaimed space"},
		{"stop -t 0 web", 0, "web"},
		{"rename web db", 0, ""},
		{"pull gone", 1, "failed to resolve reference"},
		{"pull -q here:1", 0, "docker.io/library/here:1"},
		{"run gone", 125, "failed to resolve reference"},
		{"swarm leave", 1, "This node is not part of a swarm"},
		{"service ls", 1, "This node is not a swarm manager"},
	} {
		if c.args == "run gone" {
			b.set(func() { b.err = noSuchImage() })
		}
		out, code := docker(t, client, socket, "", strings.Fields(c.args)...)
		b.set(func() { b.err = nil })
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("docker %s: %d\n%s\nwant %d %q", c.args, code, out, c.code, c.want)
		}
	}
}

// TestDockerRun: the client's dance of create, attach, wait and start.
func TestDockerRun(t *testing.T) {
	client := needClient(t)
	b := newBench(t)
	b.inspect = container.InspectResponse{ID: "c0ffee", Config: &container.Config{AttachStdin: true, OpenStdin: true}, HostConfig: &container.HostConfig{}, State: &container.State{}}
	b.output = echo
	b.execAbout = container.ExecInspectResponse{ID: "e1", OpenStdin: true, OpenStdout: true, OpenStderr: true, ExitCode: nil}
	b.waiting = make(chan container.WaitResponse, 1)
	b.waiting <- container.WaitResponse{StatusCode: 7}
	socket, _ := serve(t, b)
	out, code := docker(t, client, socket, "hello\n", "run", "-i", "busybox", "cat")
	if code != 7 || out != "WARNING: beware\ncareful\nready\nhello\n" {
		t.Errorf("run: %d %q", code, out)
	}
	if got := b.noted(); !strings.Contains(got, "attach c0ffee") || !strings.Contains(got, "start c0ffee") {
		t.Errorf("run asked for: %s", got)
	}
	out, _ = docker(t, client, socket, "typed\n", "exec", "-i", "web", "cat")
	if !strings.HasSuffix(out, "ready\ntyped\n") {
		t.Errorf("exec: %q", out)
	}
	b.set(func() {
		b.output = func(_ context.Context, s containerhub.Streams) error {
			_, err := s.Stdout.Write([]byte("a line\n"))
			return err
		}
	})
	if out, code := docker(t, client, socket, "", "logs", "-f", "web"); out != "a line\n" || code != 0 {
		t.Errorf("logs: %d %q", code, out)
	}
}
