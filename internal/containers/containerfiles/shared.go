package containerfiles

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// maxShared is the longest file that is read of those that a container may
// write, in bytes. Nobody's hosts file comes near it; a sparse one may claim to
// have 8 TB.
const maxShared = 1 << 20

// ErrUsers says that a file has become something that is not ours to change: too
// long, or no regular file at all.
var ErrUsers = errors.New("it is left alone")

// Read reads a file that a container may write. It neither follows a
// symbolic link nor waits at a FIFO, and takes up to maxShared bytes; what is
// longer or no regular file is an error that wraps ErrUsers.
func Read(path string) ([]byte, error) {
	f, err := openShared(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	// The size is what the container says, and may change at any moment: a sparse
	// file is refused by it, and one that grows by what comes.
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if info.Size() > maxShared {
		return nil, tooLong(path, info.Size())
	}
	var text bytes.Buffer
	n, err := io.Copy(&text, io.LimitReader(f, maxShared+1))
	if err != nil {
		return nil, err
	}
	if n > maxShared {
		return nil, tooLong(path, n)
	}
	return text.Bytes(), nil
}

// openShared opens a regular file that a container may write.
func openShared(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0o644)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file: %w", path, ErrUsers)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func tooLong(path string, size int64) error {
	return fmt.Errorf("%s has %d bytes or more, at most %d are read: %w", path, size, maxShared, ErrUsers)
}
