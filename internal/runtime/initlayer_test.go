package runtime

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/linkspan/linkspan/internal/model"
)

// TestImageCannotLeadOut: CVE-2025-52565, CVE-2025-31133, CVE-2019-19921 and their kin.
// No link of an image leads what is mounted, linked or made for a container into the
// host, and such images run as with Docker.
func TestImageCannotLeadOut(t *testing.T) {
	e := newEngine(t)
	for _, at := range []string{"dev", "dev/pts", "dev/shm", "dev/mqueue", "dev/console", "dev/null", "proc", "sys", "etc", "etc/hosts",
		"etc/hostname", "etc/resolv.conf", "etc/mtab", "data"} {
		for _, magic := range []bool{false, true} {
			host := t.TempDir()
			target := host
			if magic {
				target = "/proc/self/fd/7"
			}
			if err := os.WriteFile(filepath.Join(host, "ptmx"), []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			image := e.load(testArchive{tag: "evil:latest", items: []item{link(at, target)}})
			spec := e.spec("echo ran; ls -d /dev/null /proc/self")
			spec.Image = image.ID
			own := filepath.Join(t.TempDir(), "own")
			if err := os.WriteFile(own, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
				spec.Mounts = append(spec.Mounts, model.Mount{Type: "bind", Source: own, Target: "/etc/" + name})
			}
			if at == "data" && !magic { // a link that a user's mount passes through
				spec.Mounts = append(spec.Mounts, model.Mount{Type: "tmpfs", Target: "/data/sub"})
			}
			out, exit := e.run(spec)
			if exit.Code != 0 || !strings.HasPrefix(out, "ran") {
				t.Errorf("%s -> %s: printed %q, exit %d", at, target, out, exit.Code)
			}
			entries, err := os.ReadDir(host)
			if err != nil || len(entries) != 1 || entries[0].Name() != "ptmx" {
				t.Errorf("%s -> %s: the folder of the host now has %v, %v", at, target, entries, err)
			}
			if _, _, err := e.Images.Remove(t.Context(), string(image.ID), true); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestWorkingDirectoryCannotLeadOut: CVE-2024-21626. No descriptor of the runtime's is a
// way into the host.
func TestWorkingDirectoryCannotLeadOut(t *testing.T) {
	e := newEngine(t)
	for fd := 3; fd < 12; fd++ {
		dir := "/proc/self/fd/" + string(rune('0'+fd%10))
		if fd > 9 {
			dir = "/proc/self/fd/1" + string(rune('0'+fd%10))
		}
		image := e.load(testArchive{tag: "evil:latest", items: []item{link("w", dir)}})
		for _, work := range []string{dir, "/w"} {
			spec := e.spec("ls ../../../../../../../../bin/busybox && ls -d ../../../../../../../../work 2>/dev/null")
			spec.Image, spec.Process.Dir = image.ID, work
			if err := e.Create(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			s, _, begun, err := e.newTask(spec.ID, model.StreamOptions{})
			if err == nil {
				out := drain(s.Stdout)
				drain(s.Stderr)
				var exit <-chan model.Exit
				if exit, err = e.Wait(context.Background(), spec.ID); err != nil {
					t.Fatal(err)
				}
				if err = e.Start(t.Context(), spec.ID); err == nil {
					begun()
					receive(t, exit)
					out.wait(t)
					if strings.Contains(out.String(), "work") {
						t.Errorf("in %s the container sees the host: %q", work, out)
					}
				}
				begun()
				if _, err := e.DeleteTask(t.Context(), spec.ID); err != nil {
					t.Error(err)
				}
			}
			if err := e.Delete(t.Context(), spec.ID); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestInitLayerLivesWithItsImage: it is made once, stays without containers, and goes
// with the image.
func TestInitLayerLivesWithItsImage(t *testing.T) {
	e := newEngine(t)
	if got := e.initLayersOf(t); len(got) != 0 {
		t.Fatalf("before: %v", got)
	}
	for range 3 {
		if out, exit := e.run(e.spec("cat /proc/mounts >/dev/null && ls -a /.dockerenv && cat /etc/mtab | wc -l")); exit.Code != 0 || !strings.HasPrefix(out, "/.dockerenv\n") {
			t.Fatalf("printed %q, exit %d", out, exit.Code)
		}
		e.collect(t)
		if got := e.initLayersOf(t); len(got) != 1 {
			t.Fatalf("init layers %v, want one", got)
		}
	}
	if _, _, err := e.Images.Remove(t.Context(), testImage, false); err != nil {
		t.Fatal(err)
	}
	e.collect(t)
	if got := e.initLayersOf(t); len(got) != 0 {
		t.Errorf("after the image: %v", got)
	}
}

// TestHalfMadeInitLayer: what a daemon was making when it was killed goes with the next
// one, though containerd holds it for the daemon that is gone.
func TestHalfMadeInitLayer(t *testing.T) {
	e := newEngine(t)
	fact, err := e.Images.ByID(e.client.Scope(t.Context()), e.image.ID)
	if err != nil {
		t.Fatal(err)
	}
	ctx, _, err := e.client.Lease(e.client.Scope(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	const key = "linkspan-init-1-new-1"
	if _, err := e.client.Snapshots().Prepare(ctx, key, fact.Chain); err != nil {
		t.Fatal(err)
	}
	e.collect(t)
	if got := e.initLayersOf(t); !slices.Contains(got, key) {
		t.Fatalf("containerd does not hold it: %v", got)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.open()
	if got := e.initLayersOf(t); slices.Contains(got, key) {
		t.Errorf("left: %v", got)
	}
}

// collect has containerd's garbage collector run.
func (e *engine) collect(t *testing.T) {
	t.Helper()
	ctx := e.client.Scope(t.Context())
	l, err := e.client.LeasesService().Create(ctx, leases.WithRandomID())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.client.LeasesService().Delete(ctx, l, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
}

func (e *engine) initLayersOf(t *testing.T) (keys []string) {
	t.Helper()
	err := e.client.Snapshots().Walk(e.client.Scope(t.Context()), func(_ context.Context, info snapshots.Info) error {
		if strings.HasPrefix(info.Name, "linkspan-init-") {
			keys = append(keys, info.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// TestOlderContainersGetInitEntries: a container that a release without init layers made
// cannot lead out either, once it starts again.
func TestOlderContainersGetInitEntries(t *testing.T) {
	e := newEngine(t)
	host := t.TempDir()
	image := e.load(testArchive{tag: "evil:latest", items: []item{link("dev", host)}})
	spec := e.spec("echo ran")
	spec.Image = image.ID
	fact, err := e.Images.ByID(e.client.Scope(t.Context()), image.ID)
	if err != nil {
		t.Fatal(err)
	}
	rootfs, err := e.bareLayer(string(spec.ID), fact.Chain)
	if err == nil {
		err = e.createRecord(e.client.Scope(t.Context()), spec, rootfs)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second daemon finds nothing to do
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e.open()
	}
	c := e.startMade(spec, 0)
	if exit := c.end(); exit.Code != 0 || c.out.String() != "ran\n" {
		t.Errorf("printed %q, exit %d", c.out, exit.Code)
	}
	if entries, err := os.ReadDir(host); err != nil || len(entries) != 0 {
		t.Errorf("the folder of the host has %v, %v", entries, err)
	}
}
