package output

import (
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTheEndWaitsForNoClient: fifty clients that never read do not hold up the end of
// a container that has filled their queues; all that it printed is in the log, and in
// the queues too.
func TestTheEndWaitsForNoClient(t *testing.T) {
	o, out := newOutputs(t, Options{Patience: time.Hour}), fifos(t)
	open(t, o, out)
	var clients []*Client
	for range 50 {
		clients = append(clients, o.Follow(id, true, true))
	}
	w := writer(t, out.Pipes.Stdout)
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	o.Begun(id)
	writer(t, out.Pipes.Stderr).Close()
	// Until nothing more fits: the queues and the FIFO are full.
	total := 0
	piece := make([]byte, 4096)
	for i := range piece {
		piece[i] = 'x'
	}
	piece[len(piece)-1] = '\n'
	eventually(t, "the container is held up", func() bool {
		full, held := false, 0
		if err := raw.Control(func(fd uintptr) {
			for !full {
				n, err := unix.Write(int(fd), piece)
				if full = errors.Is(err, unix.EAGAIN); !full {
					total += n
				}
			}
			// The host may have let us have less than we asked for.
			if held, err = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		return total > queueSize+held/2 // pieces do not fill either to the last byte
	})
	w.Close() // the process ends
	begun := time.Now()
	drain(t, o)
	closeOutput(t, o)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the end took %s", took)
	}
	if got := len(logged(t, out.Log, time.Time{})["stdout"]); got != total {
		t.Errorf("%d bytes of %d are in the log", got, total)
	}
	for _, c := range clients {
		got, err := everything(within(t), c)
		if !errors.Is(err, io.EOF) || len(got["stdout"]) != total {
			t.Fatalf("a client gets %d bytes of %d, and %v", len(got["stdout"]), total, err)
		}
		c.Close()
	}
}

// TestTheEndIsBounded: of a process that ended while another holds its output, and
// prints on, a client that does not read keeps no more than its queue and the FIFOs.
func TestTheEndIsBounded(t *testing.T) {
	o, out := newOutputs(t, Options{Patience: time.Hour}), fifos(t)
	out.Log = ""
	open(t, o, out)
	c := o.Follow(id, true, true)
	defer c.Close()
	w := writer(t, out.Pipes.Stdout)
	o.Begun(id)
	go o.Drain(t.Context(), id)
	if _, err := w.Write(make([]byte, 2*lastSize)); err != nil { // nobody is waited for
		t.Fatal(err)
	}
	c.mu.Lock()
	size := c.size
	c.mu.Unlock()
	if size > lastSize {
		t.Errorf("%d bytes wait for one client", size)
	}
	closeOutput(t, o)
}
