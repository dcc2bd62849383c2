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

const (
	smallDisk = "4m"
	// fullAfter is how many requests a full disk may still serve: the store has free pages of its own at first.
	fullAfter = 80
	noSpace   = "no space left on device"
)

// TestFullDisk fills the disk under the store: what cannot be stored is refused with the reason, everything that was
// there goes on, and once there is room again, nothing is missing, nor after the engine was killed.
func TestFullDisk(t *testing.T) {
	engine := needEngine(t)
	h := New(t, Options{Engine: engine}).Host(1)
	r := &rig{h: h, linkspan: filepath.Join(filepath.Dir(engine), "linkspan")}
	d := &disk{rig: r, t: t}
	ctx, cancel := context.WithTimeout(t.Context(), 3*crashStep)
	defer cancel()
	defer func() {
		if t.Failed() {
			t.Logf("the engine wrote at last:\n%s", lastLines(h.Log(), 40))
		}
	}()
	d.do(r.smallDataRoot(ctx))
	d.do(h.Start(ctx))
	d.do(h.Load(ctx, "busybox"))
	for _, network := range crashNetworks {
		d.docker(ctx, "network", "create", network)
	}
	for _, name := range []string{"stays", "other", "killed", "removed"} {
		d.docker(ctx, "run", "-d", "--name", name, "--network", crashNetworks[0], "busybox", "sleep", "1000")
	}
	before := d.known(ctx)

	must(t)(h.Run(ctx, "sh", "-c", `! dd if=/dev/zero of="$0/ballast" bs=4k 2>/dev/null`, h.file("data")))
	stored := d.untilFull(ctx)
	d.onFullDisk(ctx)
	d.holds(ctx, before, stored)

	must(t)(h.Run(ctx, "rm", h.file("data/ballast")))
	d.withRoom(ctx)
	now := d.known(ctx)
	d.do(h.Kill(ctx))
	d.do(h.Start(ctx))
	if after := d.known(ctx); !slices.Equal(now, after) {
		t.Errorf("before the engine was killed there were\n%s\nand afterwards\n%s", strings.Join(now, "\n"), strings.Join(after, "\n"))
	}
	have, err := r.containers(ctx)
	d.do(err)
	d.do(Until(ctx, cleanTime, func() error { return r.agree(ctx, have) }))
	d.do(r.reachEachOther(ctx, have))
	d.docker(ctx, append([]string{"rm", "-f"}, d.names(have)...)...)
	d.docker(ctx, "network", "prune", "-f")
	d.do(Until(ctx, 3*cleanTime, func() error { return errors.Join(h.CheckClean(ctx), r.agree(ctx, nil)) }))
}

// smallDataRoot lays the data root, and with it the store, on a small disk; images and containers' files, which need
// more room, stay where they are.
func (r *rig) smallDataRoot(ctx context.Context) error {
	_, err := r.h.Run(ctx, "sh", "-ec", `
		mkdir -p "$0" "$1/containerd" "$1/containers"
		mount -t tmpfs -o size=`+smallDisk+` tmpfs "$0"
		for folder in containerd containers; do
			mkdir "$0/$folder"
			mount --bind "$1/$folder" "$0/$folder"
		done`, r.h.file("data"), r.h.file("large"))
	return err
}

// disk is the test in which the disk is full.
type disk struct {
	*rig
	t *testing.T
}

func (d *disk) do(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) docker(ctx context.Context, args ...string) string {
	d.t.Helper()
	out, err := d.h.Docker(ctx, args...)
	d.do(err)
	return out
}

// known is a line for every network and every container, with its state.
func (d *disk) known(ctx context.Context) []string {
	d.t.Helper()
	all := slices.Concat(
		lines(d.docker(ctx, "network", "ls", "--no-trunc", "--format", "network {{.ID}} {{.Name}}")),
		lines(d.docker(ctx, "ps", "-a", "--no-trunc", "--format", "container {{.ID}} {{.Names}} {{.State}}")))
	slices.Sort(all)
	return all
}

func (d *disk) names(have []inspected) []string {
	var names []string
	for _, c := range have {
		names = append(names, strings.TrimPrefix(c.Name, "/"))
	}
	return names
}

// untilFull makes networks and runs containers until the disk is full, which each kind of request must be told in
// words. It returns what was stored before.
func (d *disk) untilFull(ctx context.Context) (stored []string) {
	d.t.Helper()
	for kind, request := range [][]string{{"network", "create", "NAME"}, {"run", "-d", "--name", "NAME", "busybox", "sleep", "1000"}} {
		refused := false
		for i := 0; i < fullAfter && !refused; i++ {
			name := fmt.Sprintf("late-%d-%d", kind, i)
			args := slices.Clone(request)
			args[slices.Index(args, "NAME")] = name
			_, err := d.h.Docker(ctx, args...)
			if refused = err != nil; !refused {
				stored = append(stored, name)
			} else if !strings.Contains(err.Error(), noSpace) {
				d.t.Errorf("on a full disk: %v", err)
			} else {
				d.t.Logf("after %d: %v", i, err)
			}
		}
		if !refused {
			d.t.Fatalf("a full disk took %d times: %v", fullAfter, request)
		}
	}
	return stored
}

// onFullDisk lets a container end and another be removed. What cannot be stored of that is the next start's to find
// out; here it must be seen, and the engine must live.
func (d *disk) onFullDisk(ctx context.Context) {
	d.t.Helper()
	pid := d.docker(ctx, "inspect", "-f", "{{.State.Pid}}", "killed")
	must(d.t)(d.h.Run(ctx, "kill", "-KILL", pid))
	d.do(Until(ctx, cleanTime, func() error {
		state, err := d.h.Docker(ctx, "inspect", "-f", "{{.State.Status}}", "killed")
		if err == nil && state != "exited" {
			err = fmt.Errorf("the killed container is %s", state)
		}
		return err
	}))
	if _, err := d.h.Docker(ctx, "rm", "-f", "removed"); err != nil && !strings.Contains(err.Error(), noSpace) {
		d.t.Errorf("removal on a full disk: %v", err)
	}
	d.docker(ctx, "exec", "stays", "ping", "-c", "1", "-W", "2", "other")
	d.do(Until(ctx, cleanTime, func() error { return d.noDrift(ctx) }))
}

// holds finds what was there, or was stored, and is not any more; and what was refused and is there.
func (d *disk) holds(ctx context.Context, before, stored []string) {
	d.t.Helper()
	now := d.known(ctx)
	for _, line := range before {
		changes := strings.Contains(line, " killed ") || strings.Contains(line, " removed ")
		if !changes && !slices.Contains(now, line) {
			d.t.Errorf("lost on a full disk: %s", line)
		}
	}
	var late []string
	for _, line := range now {
		fields := strings.Fields(line)
		ran := fields[0] == "network" || fields[3] == "running"
		if strings.HasPrefix(fields[2], "late-") && ran {
			late = append(late, fields[2])
		}
	}
	if err := errors.Join(leftover("refused request", added(stored, late)), prefixed("lost on a full disk", added(late, stored))); err != nil {
		d.t.Error(err)
	}
}

// withRoom does what was refused before.
func (d *disk) withRoom(ctx context.Context) {
	d.t.Helper()
	_, err := d.h.Docker(ctx, "rm", "-f", "removed")
	if err != nil && !strings.Contains(err.Error(), "No such container") {
		d.t.Error(err)
	}
	d.docker(ctx, "start", "killed")
	d.docker(ctx, "network", "create", "again")
	d.docker(ctx, "run", "-d", "--name", "again", "--network", "again", "busybox", "sleep", "1000")
	d.docker(ctx, "exec", "killed", "ping", "-c", "1", "-W", "2", "stays")
}
