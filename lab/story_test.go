package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/lab/images"
)

// engineVariable names the daemon the stories are played with; "make test" sets it.
const engineVariable = "LINKSPAND_BIN"

// TestLanguage plays the stories that need no engine: they are about the commands of a story themselves.
func TestLanguage(t *testing.T) {
	needRoot(t)
	RunStories(t, Options{}, stories(t, "testdata/language/*")...)
}

// TestStories plays the stories of the engine.
func TestStories(t *testing.T) {
	RunStories(t, Options{Engine: needEngine(t)}, stories(t, "testdata/stories/*")...)
}

// otherBackendStories are those that are played with the iptables backend too. They say nothing of how rules are written.
var otherBackendStories = []string{"direct-routing", "firewall-respect", "isolation", "links", "ports-forms", "ports-gateway-modes", "ports-traffic", "publish-policy", "source-address"}

// TestOtherBackend plays some stories with the iptables backend. To play any of them so, say FW=iptables.
func TestOtherBackend(t *testing.T) {
	var files []string
	for _, name := range otherBackendStories {
		files = append(files, stories(t, "testdata/stories/"+name)...)
	}
	RunStories(t, Options{Engine: needEngine(t), Firewall: "iptables"}, files...)
}

// olderStories are those that use nothing a docker client of 2020 does not know.
var olderStories = []string{"connect", "links", "modes", "names", "ports-conflicts", "ports-traffic"}

// TestOlderClients plays some stories with the other docker clients that people have: Debian's, which "make deps" brings, and
// the machine's own where there is one.
func TestOlderClients(t *testing.T) {
	engine := needEngine(t)
	clients := OtherDockers()
	if len(clients) == 0 {
		t.Fatal("there is no other docker client: make deps brings Debian's")
	}
	for _, client := range clients {
		version, err := output(exec.Command(client, "version", "--format", "{{.Client.Version}}"), client, nil)
		if version == "" {
			t.Fatalf("%s does not tell its version: %v", client, err)
		}
		t.Run(version, func(t *testing.T) {
			var files []string
			for _, name := range olderStories {
				files = append(files, stories(t, "testdata/stories/"+name)...)
			}
			RunStories(t, Options{Engine: engine, Docker: client}, files...)
		})
	}
}

// stories are the files of the stories whose path, without its extension, matches the pattern.
func stories(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern + ".txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no story %s: %v", pattern, err)
	}
	return files
}

// needEngine is the path of the engine that tests play with. The images are built before it returns: that takes minutes on a
// machine which has none yet, and no step of a test is to pay for it.
func needEngine(t *testing.T) string {
	t.Helper()
	needRoot(t)
	engine := os.Getenv(engineVariable)
	if engine == "" {
		t.Skip(engineVariable + " names no engine")
	}
	if _, err := os.Stat(engine); err != nil {
		t.Fatalf("%s: %v", engineVariable, err)
	}
	if err := allImages(); err != nil {
		t.Fatal(err)
	}
	return engine
}

// allImages builds, once, those of the test images that are not in the cache.
var allImages = sync.OnceValue(func() error {
	dir, err := images.CacheDir()
	for _, name := range images.Names() {
		_, failed := images.Ensure(context.Background(), dir, name)
		err = errors.Join(err, failed)
	}
	return err
})
