package sysctl

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// Held is a sysctl that stays open, so that reading it again costs one system call. It
// is that of the namespace in which it was opened, whoever reads it.
type Held struct{ file *os.File }

// Hold opens a sysctl to be read again and again. The caller closes it.
func (t *Tree) Hold(path string) (*Held, error) {
	f, err := t.open(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return &Held{f}, nil
}

// heldSize bounds a value that is read again and again, in bytes: they are numbers.
const heldSize = 64

// Read returns the value. It fails once the interface that it belongs to is gone.
func (h *Held) Read() (string, error) {
	var b [heldSize]byte
	n, err := unix.Pread(int(h.file.Fd()), b[:], 0)
	if err != nil {
		return "", err
	}
	return string(bytes.TrimSpace(b[:n])), nil
}

// Close lets go of it.
func (h *Held) Close() {
	h.file.Close() //nolint:errcheck // nothing was written through it
}

// Same tells whether two values mean the same, however they are spaced.
func Same(a, b string) bool { return normal(a) == normal(b) }
