package jsonlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// readSize is how much of a file is read at once, in bytes.
const readSize = 64 << 10

// ReadOptions select entries.
type ReadOptions struct {
	Since time.Time // none older than this; zero: all
	Until time.Time // none younger than this; zero: all
	Tail  int       // only so many of the last entries; negative: all

	Follow bool            // wait for more at the end
	Ended  <-chan struct{} // closed when no more will come; nil: none will come now
}

// Reader yields entries, the oldest first. It belongs to one goroutine.
type Reader struct {
	path  string
	opts  ReadOptions
	watch *watch // nil: there is nothing to wait for

	parts []part // still to be read, the current one first
	end   int64  // of the newest part when the log was opened; it is read to there unless followed
	left  int    // so many lines are still wanted; negative: all there are
	in    *bufio.Reader
	line  []byte // the beginning of a line whose end has not come yet
	skip  bool   // what comes up to the next line feed is of a line too long
	done  bool   // closed
}

// Read returns a reader of a log, which may be written meanwhile, here or in
// another process; the caller closes it. A log that does not exist is empty, and
// may be followed if its folder exists. With Follow and an open Ended a reader
// goes on until Ended is closed, then gives what is left, then io.EOF.
func Read(path string, o ReadOptions) (*Reader, error) {
	r := &Reader{path: path, opts: o, in: bufio.NewReaderSize(nil, readSize), left: -1}
	if o.Follow && o.Ended != nil {
		var err error
		if r.watch, err = startWatch(path); err != nil {
			return nil, fmt.Errorf("read log: %w", err)
		}
	}
	parts, err := openParts(path)
	if err == nil && o.Tail >= 0 {
		var wanted []part
		if wanted, err = seekTail(parts, o.Tail); err != nil {
			closeParts(parts)
		}
		parts = wanted
	}
	if err == nil && r.watch == nil {
		r.left = o.Tail
		r.end, err = endOf(parts)
	}
	if err == nil {
		err = r.advance(parts)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close lets go of the files. Call it from the goroutine that reads.
func (r *Reader) Close() error {
	closeParts(r.parts)
	r.parts, r.done = nil, true
	if r.watch != nil {
		r.watch.close()
		r.watch = nil
	}
	return nil
}

// Next returns the next entry, waiting for it when following. It returns io.EOF
// after the last, and ctx's error once ctx is done. Lines that are no entries
// are passed over.
func (r *Reader) Next(ctx context.Context) (Entry, error) {
	for {
		line, err := r.nextLine(ctx)
		if err != nil {
			return Entry{}, err
		}
		e, err := Parse(line)
		if err != nil || e.Time.Before(r.opts.Since) {
			continue
		}
		if !r.opts.Until.IsZero() && e.Time.After(r.opts.Until) {
			return Entry{}, io.EOF
		}
		return e, nil
	}
}

// nextLine returns the next whole line, which is good until the next call.
func (r *Reader) nextLine(ctx context.Context) ([]byte, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.done {
			return nil, fs.ErrClosed
		}
		if r.left == 0 {
			return nil, io.EOF // the log has grown since the last lines were found
		}
		line, err := r.readLine()
		switch {
		case err == nil:
			r.left--
			return line, nil
		case !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read log: %w", err)
		case len(r.parts) > 1:
			err = r.advance(r.parts[1:])
		default:
			line, err = r.more(ctx)
		}
		if line != nil || err != nil {
			return line, err
		}
	}
}

// readLine reads on in the current part. Without a line feed before the end of
// the part it keeps what there is and returns io.EOF.
func (r *Reader) readLine() ([]byte, error) {
	if len(r.parts) == 0 {
		return nil, io.EOF
	}
	for {
		text, err := r.in.ReadSlice('\n')
		if len(r.line)+len(text) > lineLimit {
			r.skip, r.line = true, r.line[:0]
		}
		if !r.skip {
			r.line = append(r.line, text...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return nil, err
		case r.skip:
			r.skip = false
		default:
			line := r.line
			r.line = r.line[:0]
			return line, nil
		}
	}
}

// more is called at the end of the newest part. It returns a line that has come
// meanwhile; nil, nil after something changed; io.EOF if nothing will come. What
// it looks at, it looks at in the order end, rotation, text: the text that is
// there after one of the first two was seen is all there will be of it.
func (r *Reader) more(ctx context.Context) ([]byte, error) {
	if r.watch == nil {
		return nil, io.EOF
	}
	ended := false
	select {
	case <-r.opts.Ended:
		ended = true
	default:
	}
	if found, err := r.findNewer(); found || err != nil {
		return nil, err
	}
	line, err := r.readLine()
	switch {
	case err == nil:
		return line, nil
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read log: %w", err)
	case len(r.parts) > 0 && r.parts[0].shrunk():
		return nil, r.rewind()
	case ended:
		return nil, io.EOF
	}
	return nil, r.wait(ctx)
}

// findNewer looks for files that came after the one that is being read, and
// lines them up behind it.
func (r *Reader) findNewer() (bool, error) {
	if len(r.parts) == 0 {
		parts, err := openParts(r.path)
		if err != nil || len(parts) == 0 {
			return false, err
		}
		return true, r.advance(parts)
	}
	newer, err := newerParts(r.path, r.parts[0])
	if err != nil {
		return false, err
	}
	r.parts = append(r.parts[:1:1], newer...)
	return len(newer) > 0, nil
}

// wait returns when the log may have changed or was ended; with io.EOF if nothing
// that comes from now on would be wanted.
func (r *Reader) wait(ctx context.Context) error {
	var expire <-chan time.Time
	if !r.opts.Until.IsZero() {
		timer := time.NewTimer(time.Until(r.opts.Until))
		defer timer.Stop()
		expire = timer.C
	}
	safety := time.NewTimer(safetyNet)
	defer safety.Stop()
	select {
	case <-r.watch.changed:
	case <-safety.C:
	case <-r.opts.Ended:
	case <-expire:
		return io.EOF
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// advance goes on with other parts. Half a line at the end of the last one never
// gets its other half.
func (r *Reader) advance(parts []part) error {
	if len(r.parts) > 0 {
		closeParts(r.parts[:1])
	}
	r.parts, r.line, r.skip = parts, r.line[:0], false
	if len(parts) == 0 {
		return nil
	}
	text, err := parts[0].open()
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	if r.watch == nil && len(parts) == 1 && !parts[0].packed {
		// Whoever writes faster than we read would keep us here for ever.
		at, err := parts[0].file.Seek(0, io.SeekCurrent)
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		text = io.LimitReader(text, r.end-at)
	}
	r.in.Reset(text)
	return nil
}

// endOf returns the size of the newest part, in bytes.
func endOf(parts []part) (int64, error) {
	if len(parts) == 0 {
		return 0, nil
	}
	info, err := parts[len(parts)-1].file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// rewind begins the current part again: it was emptied.
func (r *Reader) rewind() error {
	r.line, r.skip = r.line[:0], false
	if _, err := r.parts[0].file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	r.in.Reset(r.parts[0].file)
	return nil
}
