package workload

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// maxLine is the longest piece of a line that becomes one log entry, as with
// Docker.
const maxLine = 16 << 10

// run is one life of a container's process, from NewTask to the recorded exit.
type run struct {
	streams *model.Streams
	log     *lineLog
	drained chan struct{} // all output was read
	ended   chan struct{} // the exit is recorded, the sandbox is down
}

// newRun begins to read a process's output.
func (m *Manager) newRun(b *box, streams *model.Streams) *run {
	log := m.openLog(b)
	r := &run{streams: streams, log: log, drained: make(chan struct{}), ended: make(chan struct{})}
	var readers sync.WaitGroup
	for name, from := range map[string]io.ReadCloser{stdoutName: streams.Stdout, stderrName: streams.Stderr} {
		if from != nil {
			readers.Go(func() { drain(b.output, name, from, log) })
		}
	}
	m.work.Go(func() {
		readers.Wait()
		log.close()
		close(r.drained)
	})
	if streams.Stdin != nil {
		b.output.setStdin(streams.Stdin)
	}
	return r
}

// close closes the streams of a process that has ended. Readers that are still
// waiting come back.
func (r *run) close() {
	if r.streams.Stdin != nil {
		r.streams.Stdin.Close() //nolint:errcheck // nobody reads it any more
	}
	r.letGo()
}

// letGo stops reading the output of a process that goes on without us. Its input
// is left alone: closing that would be the end of input for it.
func (r *run) letGo() {
	for _, s := range []io.Closer{r.streams.Stdout, r.streams.Stderr} {
		if s != nil {
			s.Close() //nolint:errcheck // nothing was written
		}
	}
}

// drain reads one stream to its end. The process stops when nobody reads, so
// that nothing here waits for long.
func drain(f *fan, stream string, from io.Reader, log *lineLog) {
	buf := make([]byte, readSize)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			f.write(stream, buf[:n], log)
		}
		if err != nil {
			return
		}
	}
}

// lineLog cuts output into lines and writes them to a log. It is used with the
// fan's lock held.
type lineLog struct {
	to      LogFile // nil with --log-driver none
	log     *slog.Logger
	partial map[string][]byte
	failed  bool
}

// openLog opens the container's log; one that cannot be opened costs the log,
// not the container.
func (m *Manager) openLog(b *box) *lineLog {
	l := &lineLog{log: m.log.With("container", model.Short(b.id)), partial: map[string][]byte{}}
	rec := b.snapshot()
	if rec.Host.LogConfig.Type == "none" {
		return l
	}
	var err error
	if l.to, err = m.o.Logs.Open(m.logPath(b.id), rec.Host.LogConfig.Config); err != nil {
		l.to = nil
		l.log.Error("output is not logged", "op", "log.open", "err", err)
	}
	return l
}

// write logs the lines that a piece of output completes.
func (l *lineLog) write(stream string, now time.Time, data []byte) {
	rest := append(l.partial[stream], data...)
	for len(rest) > 0 {
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 && len(rest) < maxLine {
			break
		}
		if end == 0 || end > maxLine {
			end = maxLine
		}
		l.append(LogEntry{Stream: stream, Time: now, Text: rest[:end]})
		rest = rest[end:]
	}
	l.partial[stream] = append(l.partial[stream][:0], rest...)
}

func (l *lineLog) append(e LogEntry) {
	if l.to == nil {
		return
	}
	err := l.to.Append(e)
	if err != nil && !l.failed {
		l.log.Error("output is not logged", "op", "log.append", "err", err)
	}
	l.failed = err != nil
}

// close logs what is left without a newline.
func (l *lineLog) close() {
	for _, stream := range []string{stdoutName, stderrName} {
		if len(l.partial[stream]) > 0 {
			l.append(LogEntry{Stream: stream, Time: time.Now(), Text: l.partial[stream]})
		}
	}
	if l.to != nil {
		if err := l.to.Close(); err != nil {
			l.log.Error("log not closed", "op", "log.close", "err", err)
		}
	}
}
