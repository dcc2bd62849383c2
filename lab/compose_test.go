package lab

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/linkspan/linkspan/lab/images"
)

// composeVariable names docker's compose plugin; "make compose" builds it and says where.
const composeVariable = "COMPOSE"

// composeTime bounds what is done before and after the shapes.
const composeTime = time.Minute

// TestCompose plays the shapes that projects of docker compose have, and what scripts do with Docker's library for Python, all
// on one host.
func TestCompose(t *testing.T) {
	plugin := os.Getenv(composeVariable)
	if plugin == "" {
		t.Skip(composeVariable + " names no compose plugin; make compose builds one")
	}
	l := New(t, Options{Engine: needEngine(t)})
	h := l.Host(1)
	ctx, cancel := context.WithTimeout(t.Context(), composeTime)
	defer cancel()
	plugins := h.file("client/cli-plugins")
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(plugin, filepath.Join(plugins, "docker-compose")); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.Load(ctx, images.Names()...); err != nil {
		t.Fatal(err)
	}
	t.Run("shapes", func(t *testing.T) { RunStoriesIn(t, l, stories(t, "testdata/compose/*")...) })
	if t.Failed() {
		t.Logf("the engine wrote at last:\n%s", lastLines(h.Log(), 40))
		return
	}
	ctx, cancel = context.WithTimeout(t.Context(), composeTime)
	defer cancel()
	if err := h.CheckClean(ctx); err != nil {
		t.Error(err)
	}
}
