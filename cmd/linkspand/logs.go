package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"github.com/docker/go-units"

	"github.com/linkspan/linkspan/internal/output/jsonlog"
	"github.com/linkspan/linkspan/internal/workload"
)

// logs keeps containers' output in json-file logs.
type logs struct{}

// Open implements workload.Logs.
func (logs) Open(path string, options map[string]string) (workload.LogFile, error) {
	var o jsonlog.Options
	for key, value := range options {
		var err error
		switch key {
		case "max-size":
			o.MaxSize, err = units.RAMInBytes(value)
		case "max-file":
			o.MaxFiles, err = strconv.Atoi(value)
		case "labels", "labels-regex", "env", "env-regex", "tag", "compress", "mode", "max-buffer-size":
			// What these add to a line, no reader of ours shows.
		default:
			err = fmt.Errorf("unknown log opt '%s' for json-file log driver", key)
		}
		if err != nil {
			return nil, fmt.Errorf("log option %s: %w", key, err)
		}
	}
	l, err := jsonlog.Open(path, o)
	if err != nil {
		return nil, err
	}
	return logFile{l}, nil
}

// Read implements workload.Logs.
func (logs) Read(path string, q workload.LogQuery) (workload.LogReader, error) {
	return readerOf(jsonlog.Read(path, options(q)))
}

type logFile struct{ *jsonlog.Log }

func (l logFile) Append(e workload.LogEntry) error {
	return l.Write(jsonlog.Entry{Time: e.Time, Stream: e.Stream, Line: e.Text})
}

func (l logFile) Read(q workload.LogQuery) (workload.LogReader, error) {
	return readerOf(l.Log.Read(options(q)))
}

func options(q workload.LogQuery) jsonlog.ReadOptions {
	return jsonlog.ReadOptions{Follow: q.Follow, Since: q.Since, Until: q.Until, Tail: q.Tail}
}

type logReader struct{ *jsonlog.Reader }

func readerOf(r *jsonlog.Reader, err error) (workload.LogReader, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return emptyLog{}, nil
	}
	if err != nil {
		return nil, err
	}
	return logReader{r}, nil
}

func (r logReader) Next(ctx context.Context) (workload.LogEntry, error) {
	e, err := r.Reader.Next(ctx)
	return workload.LogEntry{Stream: e.Stream, Time: e.Time, Text: e.Line}, err
}

// emptyLog is the log of a container that never wrote.
type emptyLog struct{}

func (emptyLog) Next(context.Context) (workload.LogEntry, error) { return workload.LogEntry{}, io.EOF }

func (emptyLog) Close() error { return nil }
