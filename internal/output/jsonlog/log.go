package jsonlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Options say how a log is kept.
type Options struct {
	MaxSize  int64            // bytes of a file beyond which it is put aside; 0 never
	MaxFiles int              // how many files are kept, the current one included; 0 means 1
	Now      func() time.Time // the clock; nil is the system's
}

// Log is a log that is being written. Its methods may be called from any
// goroutine.
type Log struct {
	path string
	opts Options

	mu      sync.Mutex
	file    *os.File
	size    int64
	rotated uint64 // how often the file was put aside
	closed  bool
	line    []byte        // the last line written; kept for its memory
	changed chan struct{} // closed by the next change; nil if nobody waits
}

// Open opens a log for writing, making it if it is not there. Half a line, which
// a crash left, is cut off from what follows.
func Open(path string, o Options) (*Log, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.MaxFiles = max(o.MaxFiles, 1)
	l := &Log{path: path, opts: o}
	if err := l.openLocked(); err != nil {
		return nil, err
	}
	return l, nil
}

// openLocked opens the current file.
func (l *Log) openLocked() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open log: %w", err), f.Close())
	}
	size := info.Size()
	var last [1]byte
	if size > 0 {
		if _, err := f.ReadAt(last[:], size-1); err != nil {
			return errors.Join(fmt.Errorf("open log: %w", err), f.Close())
		}
		if last[0] != '\n' {
			if _, err := f.WriteString("\n"); err != nil {
				return errors.Join(fmt.Errorf("open log: %w", err), f.Close())
			}
			size++
		}
	}
	l.file, l.size = f, size
	return nil
}

// Write adds one entry, at the present time if it has none.
func (l *Log) Write(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("write log: %w", fs.ErrClosed)
	}
	if e.Time.IsZero() {
		e.Time = l.opts.Now()
	}
	l.line = e.Append(l.line[:0])
	if l.opts.MaxSize > 0 && l.size > 0 && l.size+int64(len(l.line)) > l.opts.MaxSize {
		if err := l.rotateLocked(); err != nil {
			return err
		}
	}
	// One write(2) for the whole line, so that a crash leaves at most one half.
	n, err := l.file.Write(l.line)
	l.size += int64(n)
	l.wakeLocked()
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

// rotateLocked puts the current file aside as path.1, that as path.2 and so on.
// With only one file to keep it is emptied, under a new inode: followers finish
// reading the old one.
func (l *Log) rotateLocked() error {
	for i := l.opts.MaxFiles - 1; i > 0; i-- {
		err := os.Rename(l.name(i-1), l.name(i))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	if l.opts.MaxFiles == 1 {
		if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	old := l.file
	if err := l.openLocked(); err != nil {
		return err
	}
	l.rotated++
	if err := old.Close(); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	return nil
}

// name returns the path of the i-th newest file.
func (l *Log) name(i int) string { return fileName(l.path, i) }

func fileName(path string, i int) string {
	if i == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, i)
}

// Close ends the log; followers read what is there and then io.EOF.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	l.wakeLocked()
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

func (l *Log) wakeLocked() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// watch returns a channel that the next change closes, and how things are now.
func (l *Log) watch() (changed <-chan struct{}, rotated uint64, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed, l.rotated, l.closed
}
