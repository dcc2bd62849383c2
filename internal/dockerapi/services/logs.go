package services

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"

	hub "github.com/linkspan/linkspan/internal/cluster/services"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

func (a *api) serviceLogs(w http.ResponseWriter, r *httpkit.Request) error {
	return a.logs(w, r, hub.LogQuery{Service: r.PathValue("id")})
}

func (a *api) taskLogs(w http.ResponseWriter, r *httpkit.Request) error {
	return a.logs(w, r, hub.LogQuery{Task: r.PathValue("id")})
}

func (a *api) logs(w http.ResponseWriter, r *httpkit.Request, q hub.LogQuery) error {
	q.Stdout, q.Stderr, q.Follow, q.Tail = r.Flag("stdout"), r.Flag("stderr"), r.Flag("follow"), r.Query.Get("tail")
	if !q.Stdout && !q.Stderr {
		return model.Errorf(model.Invalid, "must specify at least one of 'stdout' or 'stderr'")
	}
	var err error
	if q.Since, err = r.Moment("since", time.Now()); err != nil {
		return model.Errorf(model.Invalid, "invalid value for \"since\": %w", err)
	}
	ctx, cancel := httpkit.UntilClosing(r.Context())
	defer cancel()
	from, err := a.Tasks.Logs(ctx, q)
	if err != nil {
		return err
	}
	out := httpkit.NewStream(w, r, httpkit.StreamType(r.Version, from.TTY))
	if err := out.Open(); err != nil { // clients want to know at once that it works
		return err
	}
	stdout, stderr, system := io.Writer(out), io.Writer(out), io.Writer(out)
	if !from.TTY {
		mux := httpkit.NewMultiplexer(out)
		stdout, stderr, system = mux.Stream(stdcopy.Stdout), mux.Stream(stdcopy.Stderr), mux.Stream(stdcopy.Systemerr)
	}
	for {
		e, err := from.Next()
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			// The status is gone; Docker says it among the lines.
			_, _ = system.Write([]byte("Error grabbing logs: " + err.Error() + "\n"))
			return err
		}
		to := stdout
		if e.Stderr {
			to = stderr
		}
		if _, err := to.Write(line(e, r.Flag("timestamps"), r.Flag("details"))); err != nil {
			return err
		}
	}
}

// timestamp is RFC 3339 with nine digits always, so that lines align.
const timestamp = "2006-01-02T15:04:05.000000000Z07:00"

// line returns an entry with what was asked for before its text.
func line(e hub.LogEntry, timestamps, details bool) (out []byte) {
	if timestamps {
		out = append(e.Time.UTC().AppendFormat(out, timestamp), ' ')
	}
	if details {
		for i, name := range slices.Sorted(maps.Keys(e.Attributes)) {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, url.QueryEscape(name)+"="+url.QueryEscape(e.Attributes[name])...)
		}
		out = append(out, ' ')
	}
	return append(out, e.Text...)
}
