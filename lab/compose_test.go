package lab

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/linkspan/linkspan/lab/images"
)

// What names docker's plugins; "make compose" and "make buildx" build them and say where.
const (
	composeVariable = "COMPOSE"
	buildxVariable  = "BUILDX"
)

// pluginTime bounds what is done before and after the stories of a plugin.
const pluginTime = time.Minute

// TestCompose plays the shapes that projects of docker compose have, and what scripts do with Docker's library for Python, all
// on one host.
func TestCompose(t *testing.T) {
	playPlugins(t, "testdata/compose/*", map[string]string{
		"docker-compose": needPlugin(t, composeVariable), "docker-buildx": needPlugin(t, buildxVariable), // compose builds by it
	})
}

// TestBuildx plays what people do with docker buildx, all on one host.
func TestBuildx(t *testing.T) {
	playPlugins(t, "testdata/buildx/*", map[string]string{"docker-buildx": needPlugin(t, buildxVariable)})
}

// needPlugin returns the file of a plugin of docker's, or skips the test.
func needPlugin(t *testing.T, variable string) string {
	t.Helper()
	file := os.Getenv(variable)
	if file == "" {
		t.Skip(variable + " names no plugin of docker's; make compose and make buildx build them")
	}
	return file
}

// playPlugins plays stories on one host whose docker command has plugins, by their names.
func playPlugins(t *testing.T, pattern string, plugins map[string]string) {
	t.Helper()
	l := New(t, Options{Engine: needEngine(t)})
	h := l.Host(1)
	ctx, cancel := context.WithTimeout(t.Context(), pluginTime)
	defer cancel()
	folder := h.file("client/cli-plugins")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, file := range plugins {
		if err := os.Symlink(file, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Start(ctx, "--insecure-registry="+worldAddr4+":5000"); err != nil {
		t.Fatal(err)
	}
	if err := h.Load(ctx, images.Names()...); err != nil {
		t.Fatal(err)
	}
	if err := h.haveForwarded(ctx); err != nil {
		t.Fatal(err)
	}
	t.Run("stories", func(t *testing.T) { RunStoriesIn(t, l, stories(t, pattern)...) })
	if t.Failed() {
		t.Logf("the engine wrote at last:\n%s", lastLines(h.Log(), 40))
		return
	}
	ctx, cancel = context.WithTimeout(t.Context(), pluginTime)
	defer cancel()
	if err := h.CheckClean(ctx); err != nil {
		t.Error(err)
	}
}

// haveForwarded has the host forward both families, as it does from its first network with IPv6 on, so that what guards it
// since then is not taken for something that a story has left.
func (h *Host) haveForwarded(ctx context.Context) error {
	for _, args := range [][]string{{"network", "create", "--ipv6", "first"}, {"network", "rm", "first"}} {
		if _, err := h.Docker(ctx, args...); err != nil {
			return err
		}
	}
	h.pristine = pristine{}
	return h.remember(ctx)
}
