package output

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/output/remotelog"
)

// defaultGrace is Options.Grace where nothing else is said.
const defaultGrace = 2 * time.Second

// Handed is the output of one container on its way from one process to another.
type Handed struct {
	Output  model.Output
	Begun   bool                // the container's process has its own ends
	Clients int                 // how many were attached, and may come back
	Partial map[string][]byte   // by stream, what was read of a line whose end is still to come
	Files   map[string]*os.File // by stream, the reading ends
}

// replaced is what clients and callers get after Release.
func replaced() error {
	return model.Errorf(model.Unavailable, "the keeper was replaced")
}

// Release stops reading and returns all that another process needs to go on:
// what is in the FIFOs waits there, what was read is in the logs, in the queues
// of clients or in Partial. Clients get their queues and then an error of kind
// Unavailable. From now on Outputs refuse everything, until Adopt. The caller
// owns the files.
func (o *Outputs) Release() []Handed {
	o.mu.Lock()
	o.released = true
	o.mu.Unlock()
	containers := o.all()
	handed := make([]*Handed, len(containers))
	var work sync.WaitGroup
	for i, c := range containers {
		work.Go(func() { handed[i] = o.release(c) })
	}
	work.Wait()
	var out []Handed
	for _, h := range handed {
		if h != nil {
			out = append(out, *h)
		}
	}
	return out
}

// release releases one container; nil if nothing is open.
func (o *Outputs) release(c *container) *Handed {
	defer o.letGo(c)
	c.turn.Lock()
	defer c.turn.Unlock()
	r := c.running()
	if r == nil {
		c.endClients(replaced())
		return nil
	}
	h := c.hand(r)
	h.Clients = c.endClients(replaced())
	o.letGo(c)
	return &h
}

// Adopt goes on with what other Outputs released, or these, if nobody took it.
// It owns the files from now on. A container that clients were attached to is
// read once as many are attached again, so that they miss nothing, or Options.Grace
// is over. Errors are about single containers: the others are adopted.
func (o *Outputs) Adopt(handed []Handed) error {
	o.mu.Lock()
	o.released = false
	o.mu.Unlock()
	var all error
	for _, h := range handed {
		if err := o.adopt(h); err != nil {
			all = errors.Join(all, &model.Error{Op: "output.adopt", Subject: string(h.Output.Container), Kind: model.KindOf(err), Err: err})
		}
	}
	return all
}

func (o *Outputs) adopt(h Handed) error {
	streams, err := adoptStreams(h.Files)
	if err != nil {
		return err
	}
	c, err := o.acquire(h.Output.Container)
	if err != nil {
		closeStreams(streams)
		return err
	}
	defer o.letGo(c)
	c.turn.Lock()
	defer c.turn.Unlock()
	if c.running() != nil {
		closeStreams(streams)
		return model.Errorf(model.Conflict, "output of %s is read already", h.Output.Container)
	}
	r := newRun(h.Output, streams)
	var unguarded error
	if r.begun = h.Begun; !r.begun {
		// Without guards the end may be seen too early. But a FIFO that is gone is
		// one that no process will open.
		unguarded = r.guard()
	}
	remote, err := remotelog.Open(h.Output, true, o.logOf(c))
	r.remote = remote
	return errors.Join(unguarded, err, o.start(c, r, h))
}

// adoptStreams makes streams of files that came from elsewhere, and closes those.
func adoptStreams(files map[string]*os.File) ([]*stream, error) {
	var out []*stream
	var all error
	for _, name := range []string{stdoutName, stderrName} {
		file := files[name]
		if file == nil {
			continue
		}
		s, err := adoptStream(name, file)
		if err = errors.Join(err, file.Close()); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", name, err))
		}
		if s != nil {
			out = append(out, s)
		}
	}
	if all != nil {
		closeStreams(out)
		return nil, all
	}
	return out, nil
}

// adoptStream makes a stream of a duplicate, which is the poller's whatever the
// file was, and has no deadline.
func adoptStream(name string, file *os.File) (*stream, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	failed := raw.Control(func(old uintptr) {
		if fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.SetNonblock(fd, true)
		}
	})
	if err = errors.Join(failed, err); err != nil {
		if fd >= 0 {
			unix.Close(fd) //nolint:errcheck // nothing was written
		}
		return nil, err
	}
	return newStream(name, os.NewFile(uintptr(fd), file.Name()))
}
