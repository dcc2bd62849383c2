package workload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/linkspan/linkspan/internal/model"
)

// maxSharedFile is the longest file that is read of those that a container may
// write, in bytes. Nobody's hosts file comes near it; a sparse one may claim to
// have 8 TB.
const maxSharedFile = 1 << 20

// errUsers says that a file has become something that is not ours to change: too
// long, or no regular file at all.
var errUsers = errors.New("it is left alone")

// readShared reads a file that a container may write. It neither follows a
// symbolic link nor waits at a FIFO, and takes up to maxSharedFile bytes; what is
// longer or no regular file is an error that wraps errUsers.
func readShared(path string) ([]byte, error) {
	f, err := openShared(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	// The size is what the container says, and may change at any moment: a sparse
	// file is refused by it, and one that grows by what comes.
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if info.Size() > maxSharedFile {
		return nil, tooLong(path, info.Size())
	}
	var text bytes.Buffer
	n, err := io.Copy(&text, io.LimitReader(f, maxSharedFile+1))
	if err != nil {
		return nil, err
	}
	if n > maxSharedFile {
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
		err = fmt.Errorf("%s is no regular file: %w", path, errUsers)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func tooLong(path string, size int64) error {
	return fmt.Errorf("%s has %d bytes or more, at most %d are read: %w", path, size, maxSharedFile, errUsers)
}

// spurned tells whether err is of a file that its user has made what it is, and
// says so once for every run and file. The caller holds the lock of the files.
func (m *Manager) spurned(b *box, path string, err error, op string) bool {
	if !errors.Is(err, errUsers) {
		return false
	}
	if !b.usersFiles[path] {
		if b.usersFiles == nil {
			b.usersFiles = map[string]bool{}
		}
		b.usersFiles[path] = true
		m.log.Warn("a container has made a file of its own that is not kept up to date any more", "container", model.Short(b.id), "op", op, "err", err)
	}
	return true
}
