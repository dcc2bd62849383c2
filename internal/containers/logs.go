package containers

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/containers/streams"
	"github.com/linkspan/linkspan/internal/model"
)

// timestamp is RFC 3339 with nine digits always, so that lines align.
const timestamp = "2006-01-02T15:04:05.000000000Z07:00"

// readLog reads a container's log. Following ends with the run that is.
func (out *outputs) readLog(b *entry, q LogQuery) (LogReader, error) {
	if b.snapshot().Host.LogConfig.Type == "none" {
		return nil, model.Errorf(model.NotImplemented, "configured logging driver does not support reading")
	}
	if r := b.current(); r != nil {
		q.Ended = r.ended
	} else {
		q.Follow = false
	}
	return out.logs.Read(out.dirs.Log(b.id), q)
}

// Logs writes a container's output to out, one Write for each entry, and with
// Follow what comes until the container ends or ctx does.
func (rd *reader) Logs(ctx context.Context, ref string, o LogOptions, out Streams) error {
	b, err := rd.find(ref)
	if err != nil {
		return err
	}
	if !o.Stdout && !o.Stderr {
		return refuse("Bad parameters: you must choose at least one stream")
	}
	in, err := rd.outputs.readLog(b, LogQuery{Since: o.Since, Until: o.Until, Tail: o.Tail, Follow: o.Follow, Details: o.Details})
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
		if err := writeEntry(e, o, out); err != nil {
			return err
		}
	}
}

// writeEntry writes one entry, if its stream was asked for, with what was asked
// for before its text.
func writeEntry(e LogEntry, o LogOptions, out Streams) error {
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
