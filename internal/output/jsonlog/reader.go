package jsonlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// ReadOptions select entries.
type ReadOptions struct {
	Follow bool      // wait for more at the end; only of a Log
	Since  time.Time // none older than this; zero: all
	Until  time.Time // none younger than this; zero: all
	Tail   int       // only so many of the last entries; negative: all
}

// Reader yields entries, the oldest first. It belongs to one goroutine.
type Reader struct {
	log     *Log // nil if nobody writes
	opts    ReadOptions
	files   []*os.File // still to be read, the current one first
	rotated uint64     // the log's count when the last of files was current
	in      *bufio.Reader
	line    []byte // the beginning of a line whose end has not come yet
	skip    bool   // what comes up to the next line feed is of a line too long
}

// Read returns a reader of a log that nobody writes at present. Following it
// ends at its end.
func Read(path string, o ReadOptions) (*Reader, error) {
	files, err := openAll(path)
	if err != nil {
		return nil, err
	}
	return newReader(nil, files, o)
}

// Read returns a reader of the log; the caller closes it.
func (l *Log) Read(o ReadOptions) (*Reader, error) {
	l.mu.Lock()
	files, err := openAll(l.path)
	rotated := l.rotated
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	r, err := newReader(l, files, o)
	if err != nil {
		return nil, err
	}
	r.rotated = rotated
	return r, nil
}

// openAll opens a log's files, the oldest first. They stay what they are while
// they are open, whatever rotation does to their names.
func openAll(path string) ([]*os.File, error) {
	var files []*os.File
	for i := 0; ; i++ {
		f, err := os.Open(fileName(path, i))
		if errors.Is(err, fs.ErrNotExist) && i > 0 {
			break
		}
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("read log: %w", err)
		}
		files = append([]*os.File{f}, files...)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close() //nolint:errcheck // nothing was written
	}
}

func newReader(l *Log, files []*os.File, o ReadOptions) (*Reader, error) {
	r := &Reader{log: l, opts: o, files: files}
	if o.Tail >= 0 {
		var err error
		if r.files, err = seekTail(files, o.Tail); err != nil {
			closeAll(files)
			return nil, err
		}
	}
	r.in = bufio.NewReaderSize(r.files[0], 64<<10)
	return r, nil
}

// Close lets go of the files. Call it from the goroutine that reads.
func (r *Reader) Close() error {
	closeAll(r.files)
	r.files = nil
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
		if len(r.files) == 0 {
			return nil, fs.ErrClosed
		}
		line, err := r.readLine()
		if line != nil || err == nil {
			return line, nil
		}
		if !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read log: %w", err)
		}
		if len(r.files) > 1 {
			r.advance(r.files[1:])
			continue
		}
		if line, err = r.more(ctx); line != nil || err != nil {
			return line, err
		}
	}
}

// readLine reads on in the current file. Without a line feed before the end of
// the file it keeps what there is and returns io.EOF.
func (r *Reader) readLine() ([]byte, error) {
	for {
		part, err := r.in.ReadSlice('\n')
		if len(r.line)+len(part) > lineLimit {
			r.skip, r.line = true, r.line[:0]
		}
		if !r.skip {
			r.line = append(r.line, part...)
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

// more is called at the end of the newest file. It returns a line that has come
// meanwhile; nil, nil after something changed; io.EOF if nothing will come.
func (r *Reader) more(ctx context.Context) ([]byte, error) {
	if r.log == nil || !r.opts.Follow {
		return nil, io.EOF
	}
	changed, rotated, closed := r.log.watch()
	// Read once more: what was written before watch would wake nobody.
	line, err := r.readLine()
	switch {
	case line != nil:
		return line, nil
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read log: %w", err)
	case rotated != r.rotated:
		return nil, r.follow()
	case closed:
		return nil, io.EOF
	}
	return nil, r.wait(ctx, changed)
}

func (r *Reader) wait(ctx context.Context, changed <-chan struct{}) error {
	var expire <-chan time.Time
	if !r.opts.Until.IsZero() {
		timer := time.NewTimer(time.Until(r.opts.Until))
		defer timer.Stop()
		expire = timer.C
	}
	select {
	case <-changed:
		return nil
	case <-expire:
		return io.EOF
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow opens the file after the one that was read to its end: the current one
// or, if the writer was faster, one that was put aside since.
func (r *Reader) follow() error {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	ahead := int(min(l.rotated-r.rotated, uint64(l.opts.MaxFiles))) - 1
	next, err := os.Open(l.name(ahead))
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	r.rotated = l.rotated - uint64(ahead)
	r.advance([]*os.File{next})
	return nil
}

// advance goes on with other files. Half a line at the end of the last one never
// gets its other half.
func (r *Reader) advance(files []*os.File) {
	r.files[0].Close() //nolint:errcheck // nothing was written
	r.files, r.line, r.skip = files, r.line[:0], false
	r.in.Reset(r.files[0])
}
