package reader

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/streams"
	"github.com/linkspan/linkspan/internal/logoptions"
	"github.com/linkspan/linkspan/internal/model"
)

// timestamp is RFC 3339 with nine digits always, so that lines align.
const timestamp = "2006-01-02T15:04:05.000000000Z07:00"

// OpenLog reads a container's log in its directory. Following ends with the run that is.
// NotImplemented if the log is not kept where it can be read.
func OpenLog(logs Logs, dirs containerfiles.Dirs, c Container, q LogQuery) (LogReader, error) {
	how := c.Record().Host.LogConfig
	if !logoptions.Kept(how.Type, how.Config) {
		return nil, model.Errorf(model.NotImplemented, "configured logging driver does not support reading")
	}
	if q.Ended = c.Ended(); q.Ended == nil {
		q.Follow = false
	}
	return logs.Read(dirs.LogOf(c.ID(), how.Type), q)
}

// Logs writes a container's output to out, one Write for each entry, and with
// Follow what comes until the container ends or ctx does.
func (rd *Reader) Logs(ctx context.Context, ref string, o LogOptions, out streams.Client) error {
	return rd.LogEntries(ctx, ref, o, func(e LogEntry) error { return writeEntry(e, o, out) })
}

// LogEntries is Logs for who wants entries: each gets one after the other, of both
// streams. An error of each ends them.
func (rd *Reader) LogEntries(ctx context.Context, ref string, o LogOptions, each func(LogEntry) error) error {
	b, err := rd.o.Containers.Find(ref)
	if err != nil {
		return err
	}
	if !o.Stdout && !o.Stderr {
		return model.Errorf(model.Invalid, "Bad parameters: you must choose at least one stream")
	}
	in, err := OpenLog(rd.o.Logs, rd.o.Dirs, b, LogQuery{Since: o.Since, Until: o.Until, Tail: o.Tail, Follow: o.Follow, Details: o.Details})
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // nothing was written
	for {
		e, err := in.Next(ctx)
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if err := each(e); err != nil {
			return err
		}
	}
}

// writeEntry writes one entry, if its stream was asked for, with what was asked
// for before its text.
func writeEntry(e LogEntry, o LogOptions, out streams.Client) error {
	to := out.Stdout
	asked := o.Stdout
	if e.Stream == streams.Stderr {
		to, asked = out.Stderr, o.Stderr
	}
	if !asked || to == nil {
		return nil
	}
	var line []byte
	if o.Timestamps {
		line = append(e.Time.UTC().AppendFormat(line, timestamp), ' ')
	}
	if o.Details {
		line = append(append(line, details(e.Attributes)...), ' ')
	}
	_, err := to.Write(append(line, e.Text...))
	return err
}

// details writes attributes as Docker does: sorted, escaped as in a URL.
func details(attributes map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		pairs = append(pairs, url.QueryEscape(name)+"="+url.QueryEscape(attributes[name]))
	}
	return strings.Join(pairs, ",")
}

// LogEntry is one line, or piece of a long line, that a container wrote.
type LogEntry struct {
	Stream string // "stdout" or "stderr"
	Time   time.Time
	Text   []byte // with its newline, if the line was complete
	// Attributes are what the log notes with the line, by name; nil unless asked for.
	Attributes map[string]string
}

// LogQuery chooses entries of a log. Zero times are no bounds; Tail below 0 is
// everything. Follow waits for more until Ended is closed. Details asks for the
// entries' attributes.
type LogQuery struct {
	Since, Until time.Time
	Tail         int
	Follow       bool
	Details      bool
	Ended        <-chan struct{}
}

// LogReader yields entries, the oldest first, and then io.EOF.
type LogReader interface {
	Next(ctx context.Context) (LogEntry, error)
	Close() error
}

// Logs reads what Outputs has logged.
type Logs interface {
	// Read reads the log at path; one that is not there is empty.
	Read(path string, q LogQuery) (LogReader, error)
}

// LogOptions choose output. Zero times are no bounds; Tail below 0 is
// everything. Details adds to each line the attributes that the log notes with it.
type LogOptions struct {
	Stdout, Stderr, Follow, Timestamps, Details bool
	Since, Until                                time.Time
	Tail                                        int
}

// ListOptions choose containers. Limit above 0 asks for that many of the newest,
// running or not.
type ListOptions struct {
	All     bool
	Limit   int
	Size    bool
	Filters Filters
}
