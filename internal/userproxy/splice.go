package userproxy

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/limits"
)

const (
	// spliceSize is how much is moved at once, in bytes, and what a pipe is made to
	// hold (F_SETPIPE_SZ, fcntl(2)).
	spliceSize = 1 << 20
	// idlePipes is how many pipes are kept that nobody uses.
	idlePipes = 32
)

// pipe is how data passes from one socket to another without being copied (splice(2)).
type pipe struct{ in, out int }

// pipes are all pipes of a server, of which there are only so many. A connection has
// one while it has data, not while it waits.
type pipes struct {
	buffers *sync.Pool // of *datagram: for those that get no pipe
	made    atomic.Int64

	mu     sync.Mutex
	free   []pipe
	closed bool
}

// take returns an empty pipe; false if there are too many, and what is to be passed on
// has to be copied.
func (p *pipes) take() (pipe, bool) {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		one := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return one, true
	}
	p.mu.Unlock()
	if p.made.Add(1) > min(maxPipes, limits.OneIn(filesOfPipes)()) {
		p.made.Add(-1)
		return pipe{}, false
	}
	var ends [2]int
	if unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		p.made.Add(-1)
		return pipe{}, false
	}
	// One that is smaller does its work, too.
	_, _ = unix.FcntlInt(uintptr(ends[1]), unix.F_SETPIPE_SZ, spliceSize)
	return pipe{in: ends[1], out: ends[0]}, true
}

// giveBack ends take. One that is not empty is thrown away.
func (p *pipes) giveBack(one pipe, empty bool) {
	p.mu.Lock()
	keep := empty && !p.closed && len(p.free) < idlePipes
	if keep {
		p.free = append(p.free, one)
	}
	p.mu.Unlock()
	if !keep {
		p.discard(one)
	}
}

func (p *pipes) discard(one pipe) {
	// What was in it, if anything, is of a connection that has failed.
	_ = unix.Close(one.in)
	_ = unix.Close(one.out)
	p.made.Add(-1)
}

// close lets go of the pipes that nobody uses; those in use go when they are given
// back.
func (p *pipes) close() {
	p.mu.Lock()
	free := p.free
	p.free, p.closed = nil, true
	p.mu.Unlock()
	for _, one := range free {
		p.discard(one)
	}
}

// copy passes on all that comes from one connection, until its end. It waits without
// holding memory or descriptors.
func (p *pipes) copy(to, from *net.TCPConn) error {
	in, err := from.SyscallConn()
	if err != nil {
		return err
	}
	out, err := to.SyscallConn()
	if err != nil {
		return err
	}
	c := carrier{pipes: p}
	defer c.rest()
	for {
		if err := c.fetch(in); err != nil || c.full == 0 {
			return err
		}
		if err := c.deliver(out); err != nil {
			return err
		}
	}
}

// carrier is what one direction of a connection has in hand.
type carrier struct {
	pipes  *pipes
	pipe   pipe
	piped  bool      // there is a pipe
	buffer *datagram // instead
	full   int       // bytes that were fetched and are not delivered
}

// fetch waits for data and takes some: none at the end.
func (c *carrier) fetch(in syscall.RawConn) error {
	var err error
	closed := in.Read(func(fd uintptr) bool {
		for {
			c.full, err = c.tryFetch(int(fd))
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				c.rest()
				return false
			}
			return true
		}
	})
	c.full = max(c.full, 0)
	return errors.Join(closed, os.NewSyscallError("read", err))
}

func (c *carrier) tryFetch(fd int) (int, error) {
	if !c.piped && c.buffer == nil {
		if c.pipe, c.piped = c.pipes.take(); !c.piped {
			c.buffer = c.pipes.buffers.Get().(*datagram)
		}
	}
	if c.buffer != nil {
		return unix.Read(fd, c.buffer[:])
	}
	n, err := unix.Splice(fd, nil, c.pipe.in, nil, spliceSize, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	return int(n), err
}

// deliver passes on what was fetched.
func (c *carrier) deliver(out syscall.RawConn) error {
	var err error
	size := c.full
	closed := out.Write(func(fd uintptr) bool {
		for c.full > 0 {
			var n int
			if c.buffer != nil {
				n, err = unix.Write(int(fd), c.buffer[size-c.full:size])
			} else {
				var moved int64
				moved, err = unix.Splice(c.pipe.out, nil, int(fd), nil, c.full, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
				n = int(moved)
			}
			switch {
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.EAGAIN):
				return false
			case err != nil:
				return true
			default:
				c.full -= n
			}
		}
		return true
	})
	return errors.Join(closed, os.NewSyscallError("write", err))
}

// rest gives back what it held.
func (c *carrier) rest() {
	if c.piped {
		c.pipes.giveBack(c.pipe, c.full <= 0)
		c.piped = false
	}
	if c.buffer != nil {
		c.pipes.buffers.Put(c.buffer)
		c.buffer = nil
	}
}
