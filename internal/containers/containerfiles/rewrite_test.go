package containerfiles

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// readOnce reads as the C library reads small files: in one go.
func readOnce(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text := make([]byte, 4096)
	n, err := f.Read(text)
	return text[:n], err
}

// TestRewriteIsNeverEmpty reads a file while it becomes longer and shorter: what
// both texts begin with is there all the time.
func TestRewriteIsNeverEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	short := []byte("127.0.0.1\tlocalhost\n")
	long := []byte(string(short) + strings.Repeat("172.17.0.2\tsome-name\n", 50))
	must(t, Rewrite(path, short))
	info, err := os.Stat(path)
	must(t, err)
	var readers sync.WaitGroup
	done := make(chan struct{})
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			text, err := readOnce(path)
			if err != nil || !bytes.HasPrefix(text, short) {
				t.Errorf("read %q, %v", text, err)
				return
			}
		}
	})
	for range 2000 {
		must(t, Rewrite(path, long))
		must(t, Rewrite(path, short))
	}
	close(done)
	readers.Wait()
	got, err := os.ReadFile(path)
	must(t, err)
	if now, err := os.Stat(path); err != nil || !os.SameFile(info, now) || !bytes.Equal(got, short) {
		t.Errorf("in the end: %q, %v", got, err)
	}
}
