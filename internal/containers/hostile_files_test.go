package containers

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// TestHugeFilesAreTheUsers: a container that makes its hosts or resolv.conf 4 TB
// long, or a FIFO, stops neither its own networks nor the daemon, now or at its next
// start; the log says so once.
func TestHugeFilesAreTheUsers(t *testing.T) {
	for _, file := range []string{"hosts", "resolv.conf"} {
		t.Run(file, func(t *testing.T) {
			b := newBench(t)
			var said bytes.Buffer
			b.files.Log = slog.New(slog.NewTextHandler(&said, nil))
			id := b.run("one", nil)
			path := filepath.Join(b.dirs.Of(model.ContainerID(id)), file)
			must(t, os.Truncate(path, 1<<42))
			must(t, b.Connect(ctx, id, "web", nil))
			must(t, b.Disconnect(ctx, id, "web", false))
			if got := strings.Count(said.String(), "is not kept up to date"); got != 1 {
				t.Errorf("said %d times:\n%s", got, &said)
			}
			if info, err := os.Stat(path); err != nil || info.Size() != 1<<42 {
				t.Errorf("the user's file was touched: %v, %v", info, err)
			}
			// The other file is kept up to date all the same.
			must(t, b.Connect(ctx, id, "web", nil))
			if other := "hosts"; file != other && !strings.Contains(b.file(id, other), "172.18.0.") {
				t.Errorf("hosts:\n%s", b.file(id, other))
			}
			b.reopen(nil)
			must(t, b.Disconnect(ctx, id, "web", false))
			must(t, b.Restart(ctx, id, StopOptions{}))
			if got := b.file(id, file); !strings.Contains(got, "172.17.0.") && !strings.Contains(got, "nameserver") {
				t.Errorf("a new start, and %s is %q", file, got)
			}
		})
	}
}

// TestHugeFileOfALinker: the target of a link may come and go whatever the one who
// links has made of its hosts file.
func TestHugeFileOfALinker(t *testing.T) {
	b := newBench(t)
	target := b.run("target", nil)
	linker := b.run("linker", func(r *CreateRequest) { r.Host.Links = []string{"target"} })
	path := filepath.Join(b.dirs.Of(model.ContainerID(linker)), "hosts")
	for _, spoil := range []func(){
		func() { must(t, os.Truncate(path, 1<<42)) },
		func() { must(t, os.Remove(path)); must(t, syscall.Mkfifo(path, 0o600)) },
	} {
		spoil()
		must(t, b.Restart(ctx, target, StopOptions{}))
		must(t, b.Rename(ctx, target, "other"))
		must(t, b.Rename(ctx, target, "target"))
	}
}
