package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/linkspan/linkspan/lab/images"
)

// Host is a machine on which an engine can be started.
type Host struct {
	*Machine
	Env []string // what the next Start adds to the engine's environment, as "NAME=value"

	options Options
	engine  *engine // the one that runs or ran last; nil before the first Start
	pristine
}

// buildHost starts engine host i: on the LAN, with world as its gateway and DNS server.
func (l *Lab) buildHost(ctx context.Context, i int) error {
	m := &Machine{Name: fmt.Sprintf("h%d", i)}
	m.Addr4, m.Addr6 = hostAddrs(i)
	h := &Host{Machine: m, options: l.options}
	l.hosts = append(l.hosts, h)
	resolv := fmt.Sprintf("nameserver %s\n", worldAddr4)
	if err := l.newMachine(m, map[string]string{"hosts": hostsFile(m), "resolv.conf": resolv}); err != nil {
		return err
	}
	return l.join(ctx, h)
}

// join connects a host that has booted.
func (l *Lab) join(ctx context.Context, h *Host) error {
	if err := l.plug(ctx, h.Machine); err != nil {
		return err
	}
	if err := h.ip(ctx, "route add default via "+worldAddr4, "route add default via "+worldAddr6); err != nil {
		return err
	}
	return h.setBridgeNF(ctx)
}

// setBridgeNF applies Options.BridgeNF. The settings belong to the network namespace (Linux 5.3).
func (h *Host) setBridgeNF(ctx context.Context) error {
	if h.options.BridgeNF == BridgeNFDefault {
		return nil
	}
	value := "0"
	if h.options.BridgeNF == BridgeNFOn {
		value = "1"
	}
	_, err := h.Run(ctx, "sysctl", "-qw",
		"net.bridge.bridge-nf-call-iptables="+value, "net.bridge.bridge-nf-call-ip6tables="+value)
	return err
}

// SetResolvConf replaces the text of the host's /etc/resolv.conf.
func (h *Host) SetResolvConf(text string) error {
	return os.WriteFile(h.file("resolv.conf"), []byte(text), 0o644) // in place: the file is bind-mounted
}

// Socket is the path, on the real machine and on the host, of the unix socket the engine serves.
func (h *Host) Socket() string { return h.file("docker.sock") }

// DockerCommand prepares the docker client, talking to this host's engine. It runs on the real machine, so that files
// it is given are found.
func (h *Host) DockerCommand(ctx context.Context, args ...string) (*exec.Cmd, error) {
	client, err := h.docker()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, client, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+h.Socket(), "DOCKER_CONFIG="+h.file("client"))
	killAsGroup(cmd)
	return cmd, nil
}

// docker is the path of the host's docker client.
func (h *Host) docker() (string, error) {
	if h.options.Docker != "" {
		return h.options.Docker, nil
	}
	return FindDocker(h.options.Engine)
}

// Command prepares args to run on h, as Machine.Command does. The host has the docker client on its PATH.
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := h.Machine.Command(ctx, args...)
	if client, err := h.docker(); err == nil {
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(client)+":"+os.Getenv("PATH"))
	}
	return cmd
}

// Docker runs the docker client against this host's engine and returns what it printed on standard output, without
// the last newline. The error of a command that failed carries what it said on standard error.
func (h *Host) Docker(ctx context.Context, args ...string) (string, error) {
	cmd, err := h.DockerCommand(ctx, args...)
	if err != nil {
		return "", err
	}
	return output(cmd, "docker on "+h.Name, args)
}

// Load builds those of the test images that are not in the cache yet and loads them into the host's engine.
func (h *Host) Load(ctx context.Context, names ...string) error {
	dir, err := images.CacheDir()
	if err != nil {
		return err
	}
	for _, name := range names {
		archive, err := images.Ensure(ctx, dir, name)
		if err != nil {
			return err
		}
		if _, err := h.Docker(ctx, "load", "--quiet", "--input", archive); err != nil {
			return err
		}
	}
	return nil
}

// FindDocker returns the path of the docker client that stories are written for: the one that $DOCKER names, as "make" does,
// else the one beside the engine, where "make" builds it, else the one on PATH.
func FindDocker(engine string) (string, error) {
	if path := os.Getenv("DOCKER"); path != "" {
		return exec.LookPath(path)
	}
	if path, err := filepath.Abs(filepath.Join(filepath.Dir(engine), "docker")); err == nil && engine != "" {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	path, err := exec.LookPath("docker")
	if err != nil {
		return "", fmt.Errorf("no docker client beside the engine (make bin/docker builds one): %w", err)
	}
	return path, nil
}

// OtherDockers returns the paths of further docker clients that are on the machine: the one that "make deps" unpacked
// into the lab's cache folder, of Debian's release, and the machine's own.
func OtherDockers() []string {
	var found []string
	if cache, err := os.UserCacheDir(); err == nil {
		path := filepath.Join(cache, "linkspan-lab", "bin", "docker")
		if _, err := os.Stat(path); err == nil {
			found = append(found, path)
		}
	}
	if path, err := exec.LookPath("docker"); err == nil && !slices.Contains(found, path) {
		found = append(found, path)
	}
	return found
}
