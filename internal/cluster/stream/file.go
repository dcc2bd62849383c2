package stream

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/linkspan/linkspan/internal/facts"
)

// maxFile bounds what is read of the file, in bytes.
const maxFile = 256 << 20

// Load returns what was known last, of the file that Save has written. A file that is none is as if nothing had been known.
func Load(path string, log *slog.Logger) (known []facts.Overlay) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		defer f.Close()
		err = json.NewDecoder(io.LimitReader(f, maxFile)).Decode(&known)
	}
	if err != nil {
		log.Warn("what was known of other hosts is lost", "op", "stream.load", "err", err)
		return nil
	}
	return known
}

// Save keeps what is known. It need not be there after a power cut.
func Save(path string, known []facts.Overlay) error {
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// Forget removes the file; one that is gone is success.
func Forget(path string) { _ = os.Remove(path) }
