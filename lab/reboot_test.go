package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// officeAddr is an address that a container asked for.
const officeAddr = "10.77.0.77"

// survivor is a container before a power cut, and what becomes of it.
type survivor struct {
	name  string
	args  []string // of docker create
	then  []string // docker commands on it, before the cut
	after string   // its state and exit code once the engine runs again; "" if it is to be gone
}

func survivors() []survivor {
	start := []string{"start"}
	return []survivor{
		{"none", nil, start, "exited 255"},
		{"none-ended", []string{"--stop-timeout=0"}, []string{"start", "stop"}, "exited 137"},
		{"always", []string{"--restart=always", "--network=office", "--ip=" + officeAddr}, start, "running 0"},
		{"always-stopped", []string{"--restart=always", "--stop-timeout=0"}, []string{"start", "stop"}, "running 0"},
		{"always-created", []string{"--restart=always"}, nil, "created 0"},
		{"always-paused", []string{"--restart=always", "--network=plain"}, []string{"start", "pause"}, "running 0"},
		{"unless", []string{"--restart=unless-stopped", "--network=office"}, start, "running 0"},
		{"unless-stopped", []string{"--restart=unless-stopped", "--stop-timeout=0"}, []string{"start", "stop"}, "exited 137"},
		{"on-failure", []string{"--restart=on-failure:3"}, start, "running 0"}, // 255 is a failure
		{"removed", []string{"--rm"}, start, ""},
	}
}

// TestReboot cuts the power: networks come back as they were, what should run runs, nothing else claims to, and what
// is stale is cleared away.
func TestReboot(t *testing.T) {
	engine := needEngine(t)
	l := New(t, Options{Engine: engine})
	h := l.Host(1)
	r := &rig{h: h, linkspan: filepath.Join(filepath.Dir(engine), "linkspan")}
	ctx, cancel := context.WithTimeout(t.Context(), 3*crashStep)
	defer cancel()
	defer func() {
		if t.Failed() {
			t.Logf("the engine wrote at last:\n%s", lastLines(h.Log(), 40))
		}
	}()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r.prepareBoth(t)
	do(h.Start(ctx))
	must(t)(h.Docker(ctx, "network", "create", "--subnet=10.77.0.0/24", "--opt=com.docker.network.bridge.name=office0", "office"))
	must(t)(h.Docker(ctx, "network", "create", "--ipv6", "plain"))
	for _, s := range survivors() {
		must(t)(h.Docker(ctx, slices.Concat([]string{"create", "--name=" + s.name}, s.args, []string{"busybox", "sleep", "1000"})...))
		for _, verb := range s.then {
			must(t)(h.Docker(ctx, verb, s.name))
		}
	}
	networks, err := r.networks(ctx)
	do(err)
	var stale []string
	for _, s := range survivors() {
		if strings.HasPrefix(s.after, "running") {
			stale = append(stale, must(t)(h.Docker(ctx, "inspect", "-f", "{{printf \"%.12s\" .Id}}", s.name)))
		}
	}

	mark := must(t)(h.Run(ctx, "sh", "-c", "cut -d : -f 1,2 /sys/class/net/docker0/ifalias")) // linkspan:INSTANCE

	do(l.Reboot(ctx, h))
	do(r.litter(ctx, mark, stale))
	do(h.Start(ctx))

	if now, err := r.networks(ctx); err != nil || now != networks {
		t.Errorf("before the power cut the networks were\n%s\nand afterwards\n%s\n%v", networks, now, err)
	}
	do(Until(ctx, 2*cleanTime, func() error { return r.survived(ctx) }))
	have, err := r.containers(ctx)
	do(err)
	do(Until(ctx, cleanTime, func() error { return r.agree(ctx, have) }))
	do(r.reachEachOther(ctx, onUserNetworks(have)))
	must(t)(h.Docker(ctx, "exec", "unless", "ping", "-c", "1", "-W", "2", officeAddr))
	for _, s := range survivors() {
		if s.after != "" {
			must(t)(h.Docker(ctx, "rm", "-f", s.name))
		}
	}
	must(t)(h.Docker(ctx, "network", "rm", "office", "plain"))
	do(Until(ctx, 3*cleanTime, func() error { return errors.Join(h.CheckClean(ctx), r.agree(ctx, nil)) }))
}

// networks is what there is of networks, in the model and in the kernel.
func (r *rig) networks(ctx context.Context) (string, error) {
	ids, err := r.h.Docker(ctx, "network", "ls", "-q", "--no-trunc")
	if err != nil {
		return "", err
	}
	const format = "{{.Name}} {{.ID}} {{.Driver}} {{.Created}} {{range .IPAM.Config}}{{.Subnet}} via {{.Gateway}} {{end}}{{.Options}}"
	model, err := r.h.Docker(ctx, append([]string{"network", "inspect", "--format", format}, lines(ids)...)...)
	if err != nil {
		return "", err
	}
	kernel, err := r.h.Run(ctx, "sh", "-c", `for bridge in $(ls -d /sys/class/net/*/bridge | cut -d / -f 5); do
		echo $bridge $(cat /sys/class/net/$bridge/address) $(ip -o addr show dev $bridge scope global | awk '{ print $4 }')
	done`)
	both := lines(model + "\n" + kernel)
	slices.Sort(both)
	return strings.Join(both, "\n"), err
}

// litter puts back what a boot leaves of old containers where /run is on a disk: files without a namespace, with the mark of
// the engine that made them, and records of process numbers that somebody else has now.
func (r *rig) litter(ctx context.Context, mark string, ids []string) error {
	_, err := r.h.Run(ctx, append([]string{"sh", "-ec", `
		echo 1 >/run/linkspan.pid
		mkdir -p /run/linkspan/containerd
		echo 1 1 >/run/linkspan/containerd/containerd.pid
		mkdir -p /run/netns
		for id; do echo "$0" >/run/netns/$id; chmod 100 /run/netns/$id; done`, mark}, ids...)...)
	return err
}

// survived compares the containers with what should have become of them.
func (r *rig) survived(ctx context.Context) error {
	have, err := r.h.Docker(ctx, "ps", "-a", "--format", "{{.Names}}")
	if err != nil {
		return err
	}
	var want []string
	var wrong []error
	for _, s := range survivors() {
		if s.after == "" {
			continue
		}
		want = append(want, s.name)
		state, err := r.h.Docker(ctx, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", s.name)
		if err == nil && state != s.after {
			err = fmt.Errorf("%s is %q, not %q", s.name, state, s.after)
		}
		wrong = append(wrong, err)
	}
	wrong = append(wrong, leftover("container", added(want, lines(have))), prefixed("missing: container", added(lines(have), want)))
	return errors.Join(wrong...)
}

// onUserNetworks are the containers that find each other by name.
func onUserNetworks(have []inspected) []inspected {
	return slices.DeleteFunc(slices.Clone(have), func(c inspected) bool {
		_, onDefault := c.NetworkSettings.Networks["bridge"]
		return onDefault
	})
}
