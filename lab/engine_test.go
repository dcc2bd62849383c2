package lab

import (
	"strings"
	"testing"
)

// ownEngine is a stand-in that behaves as far as Start, Stop and Kill care.
const ownEngine = "testdata/engine.sh"

func TestEngineLifeCycle(t *testing.T) {
	needRoot(t)
	h, ctx := New(t, Options{Engine: ownEngine}).Host(1), t.Context()
	if err := h.Start(ctx, "--more"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--host=unix://" + h.Socket(), "--data-root=" + h.file("data"), "--exec-root=/run/linkspan", "--more"} {
		if !strings.Contains(h.Log(), want) {
			t.Errorf("%s is not among the flags: %s", want, h.Log())
		}
	}
	if err := h.Start(ctx); err == nil {
		t.Error("a second engine was started beside the first")
	}
	if err := h.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(h.Log(), "ending") {
		t.Error("Kill let the engine tidy up")
	}
	if err := h.Kill(ctx); err == nil {
		t.Error("Kill of what is not running succeeds")
	}
	if err := h.Start(ctx); err != nil {
		t.Fatalf("start after Kill: %v", err)
	}
	if err := h.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(h.Log(), "ending") {
		t.Error("Stop did not let the engine tidy up")
	}
	if err := h.noNamespaces(ctx); err != nil {
		t.Error(err)
	}
}

func TestEngineThatDoesNotStart(t *testing.T) {
	needRoot(t)
	h := New(t, Options{Engine: ownEngine}).Host(1)
	err := h.Start(t.Context(), "--fail")
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "told to fail") {
		t.Errorf("Start says: %v", err)
	}
}

func TestContainersCgroupsAreFoundAndRemoved(t *testing.T) {
	needRoot(t)
	l := New(t, Options{Engine: ownEngine})
	h, ctx := l.Host(1), t.Context()
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("0a1b2c3d", 8)
	// in the hierarchy that every machine has: v2's, alone or beside v1's
	must(t)(h.Run(ctx, "sh", "-c", "mkdir -p /run/linkspan/tasks/"+id+"; cd /sys/fs/cgroup; [ ! -d unified ] || cd unified; mkdir -p linkspan-lab-test/"+id))
	found, err := h.containerCgroups(ctx)
	if err != nil || len(found) != 1 || !strings.HasSuffix(found[0], "/linkspan-lab-test/"+id) {
		t.Errorf("found %v, %v", found, err)
	}
	if err := h.noContainerCgroups(ctx); err == nil {
		t.Error("a container's cgroup is not noticed")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for _, path := range found {
		if err := removeCgroups(ctx, []string{path, strings.TrimSuffix(path, "/"+id)}); err != nil {
			t.Error(err)
		}
	}
}
