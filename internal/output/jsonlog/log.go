package jsonlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// flushSize is how many bytes of entries are collected before they are written
// without being asked for.
const flushSize = 128 << 10

// Log is a log that is being written, by one process. It belongs to one
// goroutine at a time.
type Log struct {
	path string
	opts Options

	file *os.File // nil once closed
	size int64    // of the file, in bytes
	torn bool     // the file ends in half a line
	buf  []byte   // entries that are not written yet; nil: none

	at     time.Time // the time that atText is of
	atText []byte

	packing *packing // of the file that was put aside last; nil: none
	pace    pace     // of rotation
}

// Open opens a log for writing, making it if it is not there. Half a line, which
// a crash left, is ended, so that readers pass over it: cutting it off would
// pull the ground from under followers that have read it.
func Open(path string, o Options) (*Log, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Buffers == nil {
		o.Buffers = &Buffers{}
	}
	l := &Log{path: path, opts: o.bounded(), pace: newPace()}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	l.file = f
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), f.Close())
	}
	if l.size = info.Size(); l.size > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], l.size-1); err != nil {
			return nil, errors.Join(fmt.Errorf("open log: %w", err), f.Close())
		}
		l.torn = last[0] != '\n'
	}
	return l, nil
}

// Add collects an entry, at the present time if it has none. Entries are in the
// file after Flush; some may be before. After an error those that were collected
// are lost and the log may be used on.
func (l *Log) Add(e Entry) error {
	if l.file == nil {
		return fmt.Errorf("write log: %w", fs.ErrClosed)
	}
	if e.Time.IsZero() {
		e.Time = l.opts.Now()
	}
	if !e.Time.Equal(l.at) || l.atText == nil {
		l.at, l.atText = e.Time, appendTime(l.atText[:0], e.Time)
	}
	if l.buf == nil {
		l.buf = l.opts.Buffers.take()
	}
	before := len(l.buf)
	l.buf = append(e.appendText(l.buf), l.atText...)
	switch {
	case l.opts.MaxSize > 0 && l.size+int64(len(l.buf)) > l.opts.MaxSize && l.pace.allows(time.Now()):
		return l.turnOver(before)
	case len(l.buf) >= flushSize:
		return l.Flush()
	}
	return nil
}

// turnOver writes the first bytes of what was collected and the rest, one entry,
// into the next file.
func (l *Log) turnOver(first int) error {
	err := l.write(l.buf[:first])
	// The first entry of a file may be longer than a file should be.
	if l.size > 0 {
		err = errors.Join(err, l.rotate())
	}
	l.buf = l.buf[:copy(l.buf, l.buf[first:])]
	return err
}

// Flush writes what was collected, in one write(2), so that a crash leaves at
// most one entry in half.
func (l *Log) Flush() error {
	if l.buf == nil {
		return nil
	}
	err := l.write(l.buf)
	l.opts.Buffers.giveBack(l.buf)
	l.buf = nil
	return err
}

// Write adds one entry and flushes.
func (l *Log) Write(e Entry) error { return errors.Join(l.Add(e), l.Flush()) }

// write appends whole lines to the file.
func (l *Log) write(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	if l.torn {
		n, err := l.file.WriteString("\n")
		l.size += int64(n)
		if err != nil {
			return fmt.Errorf("write log: %w", err)
		}
		l.torn = false
	}
	n, err := l.file.Write(lines)
	l.size += int64(n)
	if err != nil {
		l.torn = n > 0 && lines[n-1] != '\n'
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

// Close writes what was collected and ends the log.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	err := l.Flush()
	if l.packing != nil {
		l.packing.abandon()
	}
	err = errors.Join(err, l.file.Close())
	l.file = nil
	if err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}
