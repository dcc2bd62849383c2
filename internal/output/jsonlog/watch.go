package jsonlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// safetyNet is how long a follower trusts that it would have been woken. It
	// is all there is when the kernel has no inotify instance left for us
	// (fs.inotify.max_user_instances, 128 by default).
	safetyNet = time.Second
	// eventBuffer holds some events at once; what they say does not matter.
	eventBuffer = 4 << 10
)

// watch tells when something in a log's folder changes, by whichever process
// (inotify(7)). A watch on the folder covers the files in it.
type watch struct {
	events  *os.File      // nil: none are to be had
	changed chan struct{} // holds one signal
}

func startWatch(path string) (*watch, error) {
	w := &watch{changed: make(chan struct{}, 1)}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
		return w, nil
	case err != nil:
		return nil, fmt.Errorf("inotify: %w", err)
	}
	_, err = unix.InotifyAddWatch(fd, filepath.Dir(path),
		unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE|unix.IN_ONLYDIR)
	if err != nil {
		unix.Close(fd) //nolint:errcheck // nothing was written
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) {
			return w, nil
		}
		return nil, &os.PathError{Op: "watch", Path: filepath.Dir(path), Err: err}
	}
	w.events = os.NewFile(uintptr(fd), "inotify")
	go w.run()
	return w, nil
}

// run reads events away as they come, so that the kernel never keeps many, and
// ends with close.
func (w *watch) run() {
	buf := make([]byte, eventBuffer)
	for {
		if _, err := w.events.Read(buf); err != nil {
			return
		}
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

func (w *watch) close() {
	if w.events != nil {
		w.events.Close() //nolint:errcheck // nothing was written
	}
}
