// Package remotelog sends what containers print to the host's journal or to a syslog server.
//
//	Add ─▶ queue ─▶ one goroutine ─▶ journald, syslog
//
// It promises that a server which is slow, silent or gone holds a container up no longer than
// patience for each line, and not at all once it is known; what finds no room then is lost, and
// said so. Every write to a syslog server has a deadline; journald's socket has none, and what waits
// for it is bounded here. It must not keep anything: `docker logs` reads
// what is written to a file beside.
package remotelog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/logoptions"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/output/jsonlog"
)

const (
	queued     = 256              // entries that wait, each of 16 KiB at most
	patience   = time.Second      // with a queue that is full
	closing    = 3 * time.Second  // for what waits when the log is closed
	complaints = time.Minute      // between two of them
	retry      = 2 * time.Second  // after a server was lost
	deadline   = 10 * time.Second // for one connection, and for one write
)

// sender brings entries to where they belong. It is used by one goroutine at a time.
type sender interface {
	send(e jsonlog.Entry) error
	close() error
}

// Log is one container's way to a server. Add and Close belong to one goroutine at a time.
type Log struct {
	queue    chan jsonlog.Entry
	finished chan struct{}
	failing  atomic.Bool
	lost     atomic.Int64
	closed   bool
	log      *slog.Logger
}

// Open returns the way that a container's driver takes; nil for a driver that sends nothing
// anywhere. If there is no server an error is returned; patient, it is looked for when there is
// something to send, and nobody waits for that.
func Open(o model.Output, patient bool, log *slog.Logger) (*Log, error) {
	if !logoptions.Cached(o.Driver) {
		return nil, nil
	}
	dial := func() (sender, error) { return openJournal(o) }
	if o.Driver == logoptions.Syslog {
		dial = func() (sender, error) { return openSyslog(o) }
	}
	var to sender
	if !patient {
		var err error
		if to, err = dial(); err != nil {
			return nil, err
		}
	}
	l := &Log{queue: make(chan jsonlog.Entry, queued), finished: make(chan struct{}), log: log}
	go l.run(to, dial)
	return l, nil
}

// Add has an entry sent. Errors: it found no room.
func (l *Log) Add(e jsonlog.Entry) error {
	if l.closed {
		return fmt.Errorf("send log: %w", fs.ErrClosed)
	}
	e.Line = bytes.Clone(e.Line)
	select {
	case l.queue <- e:
		return nil
	default:
	}
	if !l.failing.Load() {
		wait := time.NewTimer(patience)
		defer wait.Stop()
		select {
		case l.queue <- e:
			return nil
		case <-wait.C:
			l.failing.Store(true)
		}
	}
	return fmt.Errorf("the log's server does not keep up: %d lines are lost", l.lost.Add(1))
}

// Close sends what waits, for a while, and ends.
func (l *Log) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.queue)
	wait := time.NewTimer(closing)
	defer wait.Stop()
	select {
	case <-l.finished:
		return nil
	case <-wait.C:
		return errors.New("the log's server does not keep up: what was printed last may be lost there")
	}
}

// run sends entries until the log is closed. What cannot be sent is lost, as with Docker.
func (l *Log) run(to sender, dial func() (sender, error)) {
	defer close(l.finished)
	var said, tried time.Time
	for e := range l.queue {
		var err error
		if to == nil && time.Since(tried) >= retry {
			tried = time.Now()
			to, err = dial()
		}
		if to != nil {
			if err = to.send(e); err != nil {
				_ = to.close() // it has failed
				to, tried = nil, time.Now()
			}
		}
		l.failing.Store(to == nil)
		if err != nil && time.Since(said) >= complaints {
			said = time.Now()
			l.log.Error("output is not sent to the log's server", "op", "output.send", "err", err)
		}
	}
	if to != nil {
		_ = to.close() // everything was sent
	}
}
