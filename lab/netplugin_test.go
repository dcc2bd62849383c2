package lab

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/conformance/netplugin"
)

// TestNetpluginConformance plays the conformance suite of plugins for networks against one that is written with
// Docker's helpers, and judges our engine by what it asks a plugin in the life of a network.
func TestNetpluginConformance(t *testing.T) {
	h := New(t, Options{Engine: needEngine(t)}).Host(1)
	ctx, cancel := context.WithTimeout(t.Context(), conformanceTime)
	defer cancel()
	c := &conformance{t: t, h: h, dir: t.TempDir()}
	c.build(ctx, "../conformance/netplugin", "./netplugin-conformance")
	c.build(ctx, ".", "./cmd/wireplugin")
	c.do(h.Start(ctx))
	suite := filepath.Join(c.dir, "netplugin-conformance")
	t.Run("Helpers", func(t *testing.T) { c.of(t).helpers(ctx, suite) })
	t.Run("Engine", func(t *testing.T) { c.of(t).engine(ctx, suite) })
	c.do(Until(ctx, cleanTime, func() error { return h.CheckClean(ctx) }))
}

// helpers plays the suite against wireplugin, one role after the other.
func (c *conformance) helpers(ctx context.Context, suite string) {
	sockets := filepath.Join(c.dir, "sockets")
	_, end := c.serve(ctx, filepath.Join(c.dir, "wireplugin"), sockets, filepath.Join(c.dir, "addresses.json"))
	defer end() //nolint:errcheck // it ends by a signal
	for name, least := range map[string]int{"wire": 35, "wireaddresses": 25} {
		p := netplugin.Plugin{Name: name, Socket: filepath.Join(sockets, name+".sock")}
		c.do(Until(ctx, cleanTime, func() error { _, err := os.Stat(p.Socket); return err }))
		raw, err := json.Marshal(p)
		c.do(err)
		file := filepath.Join(c.dir, name+".json")
		c.do(os.WriteFile(file, raw, 0o600))
		out, err := c.h.Command(ctx, suite, "-all", file).CombinedOutput()
		if err != nil || heldOf(string(out)) < least {
			c.t.Errorf("%v\n%s", err, out)
		}
		if os.Getenv(conformanceVariable) != "" {
			c.t.Logf("\n%s", out)
		}
	}
}

// serve starts a program on the host. End has it end, and returns as what; then all is in said that it printed.
func (c *conformance) serve(ctx context.Context, args ...string) (said *strings.Builder, end func() error) {
	pid := filepath.Join(c.dir, filepath.Base(args[0])+".pid")
	script := []string{"sh", "-c", `p=$1; shift; "$@" & echo $! >"$p"; wait $!`, "serve", pid}
	cmd := c.h.Command(ctx, append(script, args...)...)
	said = &strings.Builder{}
	cmd.Stdout, cmd.Stderr = said, said
	c.do(cmd.Start())
	return said, func() error {
		_, err := c.h.Run(ctx, "sh", "-c", `kill -TERM "$(cat "$0")"`, pid)
		c.do(err)
		return cmd.Wait()
	}
}

// engine has ours use a plugin that judges it.
func (c *conformance) engine(ctx context.Context, suite string) {
	const socket = "/run/docker/plugins/judge.sock"
	_, err := c.h.Run(ctx, "mkdir", "-p", filepath.Dir(socket))
	c.do(err)
	report, end := c.serve(ctx, suite, "-all", "-strict", "-serve", socket)
	c.do(Until(ctx, cleanTime, func() error { _, err := c.h.Run(ctx, "test", "-S", socket); return err }))
	c.docker(ctx, "network", "create", "-d", "judge", "--ipam-driver", "judge", "--subnet", "10.79.0.0/24", "--ip-range", "10.79.0.128/25", "--aux-address", "printer=10.79.0.9", "judged")
	c.docker(ctx, "network", "create", "-d", "judge", "judged-too")
	for _, name := range []string{"judged", "judged-too"} {
		c.docker(ctx, "network", "rm", name)
	}
	if err := end(); err != nil || heldOf(report.String()) < 10 {
		c.t.Errorf("%v\n%s", err, report.String())
	}
	if os.Getenv(conformanceVariable) != "" {
		c.t.Logf("\n%s", report.String())
	}
}
