package containerfiles

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestReadShared: what a container may write is read within bounds, whatever it
// has become.
func TestReadShared(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(path("plain"), []byte("127.0.0.1\tlocalhost\n"), 0o600))
	must(t, os.WriteFile(path("full"), bytes.Repeat([]byte("x"), maxShared), 0o600))
	must(t, os.WriteFile(path("long"), bytes.Repeat([]byte("x"), maxShared+1), 0o600))
	sparse, err := os.Create(path("sparse"))
	must(t, err)
	must(t, sparse.Truncate(1<<42))
	must(t, sparse.Close())
	must(t, syscall.Mkfifo(path("fifo"), 0o600))
	must(t, os.Symlink(path("plain"), path("link")))
	must(t, os.Mkdir(path("folder"), 0o700))

	for _, c := range []struct {
		name string
		size int
		err  error
	}{
		{"plain", 20, nil}, {"full", maxShared, nil},
		{"long", 0, ErrUsers}, {"sparse", 0, ErrUsers}, {"fifo", 0, ErrUsers}, {"folder", 0, ErrUsers},
		{"link", 0, syscall.ELOOP}, {"nothing", 0, os.ErrNotExist},
	} {
		text, err := Read(path(c.name))
		if len(text) != c.size || !errors.Is(err, c.err) {
			t.Errorf("%s: %d bytes, error %v; want %d, %v", c.name, len(text), err, c.size, c.err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
