package output

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/linkspan/linkspan/internal/output/jsonlog"
	"github.com/linkspan/linkspan/internal/output/remotelog"
)

const (
	// maxLine is the longest piece of a line that becomes one log entry, in bytes,
	// its line feed included, as with Docker.
	maxLine = 16 << 10
	// reopenAfter is how long it is left at that when a log cannot be opened.
	reopenAfter = time.Second
	// sayAgainAfter is how long a log that fails and works by turns is not
	// complained of again.
	sayAgainAfter = time.Minute
)

// cutter cuts one stream into lines. However the stream comes in pieces, it gives
// the same lines.
type cutter struct {
	partial []byte // the beginning of a line, shorter than maxLine
}

// cut calls emit with each line that data completes, or piece of one that has
// got too long. The line is good until emit returns.
func (c *cutter) cut(data []byte, emit func(line []byte)) {
	for len(data) > 0 {
		take := data[:min(len(data), maxLine-len(c.partial))]
		end := bytes.IndexByte(take, '\n') + 1
		if end > 0 {
			take = take[:end]
		}
		data = data[len(take):]
		switch whole := end > 0 || len(c.partial)+len(take) == maxLine; {
		case !whole:
			c.partial = append(c.partial, take...)
		case len(c.partial) == 0:
			emit(take) // most lines come in one piece: no copy
		default:
			c.partial = append(c.partial, take...)
			emit(c.partial)
			c.partial = c.partial[:0]
		}
	}
}

type lineLogOptions struct {
	path       string            // empty: no log is kept
	folder     bool              // the log has a folder of its own
	config     map[string]string // options of the json-file driver
	attributes jsonlog.Attributes
	buffers    *jsonlog.Buffers
	remote     *remotelog.Log // nil: output is sent nowhere
	log        *slog.Logger
}

// lineLog writes output into a log, line by line. When that fails it says so once
// and goes on as if nothing were: a full disk must not stop a container.
type lineLog struct {
	opts           lineLogOptions
	to             *jsonlog.Log // nil: it could not be opened
	tried          time.Time    // when that was tried last
	stdout, stderr cutter
	failed         bool
	said           time.Time // when a failure was last logged
}

func newLineLog(o lineLogOptions) *lineLog {
	l := &lineLog{opts: o}
	if o.path != "" {
		l.note(l.open(time.Now()), time.Now())
	}
	return l
}

func (l *lineLog) cutter(stream string) *cutter {
	if stream == stderrName {
		return &l.stderr
	}
	return &l.stdout
}

// open opens the log unless it is open or that was tried just now.
func (l *lineLog) open(now time.Time) error {
	if l.opts.path == "" || l.to != nil || now.Sub(l.tried).Abs() < reopenAfter {
		return nil
	}
	l.tried = now
	o, err := jsonlog.ParseOptions(l.opts.config)
	if err != nil {
		return err
	}
	o.Buffers = l.opts.buffers
	if l.opts.folder {
		if err := os.Mkdir(filepath.Dir(l.opts.path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	l.to, err = jsonlog.Open(l.opts.path, o)
	return err
}

// write logs the lines that a piece of output completes.
func (l *lineLog) write(stream string, now time.Time, data []byte) {
	if l.opts.path == "" && l.opts.remote == nil {
		return
	}
	err := l.open(now)
	l.cutter(stream).cut(data, func(line []byte) {
		if e := l.add(stream, now, line); err == nil {
			err = e
		}
	})
	l.flush(err, now)
}

func (l *lineLog) add(stream string, now time.Time, line []byte) error {
	e := jsonlog.Entry{Time: now, Stream: stream, Line: line, Attributes: l.opts.attributes}
	var err error
	if l.opts.remote != nil {
		err = l.opts.remote.Add(e)
	}
	if l.to == nil {
		return err
	}
	return errors.Join(err, l.to.Add(e))
}

// flush writes what was added; err is of something before.
func (l *lineLog) flush(err error, now time.Time) {
	if l.to != nil {
		err = errors.Join(err, l.to.Flush())
		l.note(err, now)
	} else if err != nil {
		l.note(err, now)
	}
}

// note logs that writing fails or works again.
func (l *lineLog) note(err error, now time.Time) {
	switch {
	case err == nil && l.failed:
		l.opts.log.Info("output is logged again", "op", "output.log")
	case err != nil && !l.failed && now.Sub(l.said).Abs() >= sayAgainAfter:
		l.opts.log.Error("output is not logged", "op", "output.log", "err", err)
		l.said = now
	}
	l.failed = err != nil
}

// endLine logs the beginning of a line of which no more will come.
func (l *lineLog) endLine(stream string, now time.Time) {
	c := l.cutter(stream)
	if len(c.partial) > 0 {
		l.flush(errors.Join(l.open(now), l.add(stream, now, c.partial)), now)
	}
	c.partial = nil
}

// breakLine logs the beginning of a line of which more will come, up to the last
// whole character, and returns the bytes after that.
func (l *lineLog) breakLine(stream string, now time.Time) []byte {
	c := l.cutter(stream)
	whole := wholeRunes(c.partial)
	if whole > 0 {
		l.flush(errors.Join(l.open(now), l.add(stream, now, c.partial[:whole])), now)
		c.partial = c.partial[:copy(c.partial, c.partial[whole:])]
	}
	return bytes.Clone(c.partial)
}

// wholeRunes returns the length of text without a character at its end whose
// rest is missing.
func wholeRunes(text []byte) int {
	for back := 1; back <= min(utf8.UTFMax-1, len(text)); back++ {
		if at := len(text) - back; utf8.RuneStart(text[at]) {
			if utf8.FullRune(text[at:]) {
				break
			}
			return at
		}
	}
	return len(text)
}

// close logs what is left and closes the log.
func (l *lineLog) close(now time.Time) error {
	l.endLine(stdoutName, now)
	l.endLine(stderrName, now)
	var err error
	if l.opts.remote != nil {
		err = l.opts.remote.Close()
	}
	if l.to == nil {
		return err
	}
	return errors.Join(err, l.to.Close())
}

// release closes the log and returns the lines that have begun.
func (l *lineLog) release() map[string][]byte {
	out := map[string][]byte{}
	for _, stream := range []string{stdoutName, stderrName} {
		if p := l.cutter(stream).partial; len(p) > 0 {
			out[stream] = p
		}
	}
	if l.opts.remote != nil {
		if err := l.opts.remote.Close(); err != nil {
			l.opts.log.Error("log not sent", "op", "output.release", "err", err)
		}
	}
	if l.to != nil {
		if err := l.to.Close(); err != nil {
			l.opts.log.Error("log not closed", "op", "output.release", "err", err)
		}
	}
	return out
}

// adopt goes on with lines that have begun elsewhere.
func (l *lineLog) adopt(partial map[string][]byte) {
	for stream, begun := range partial {
		l.write(stream, time.Now(), begun)
	}
}
