package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// self is the calling thread's own network namespace.
const self = "/proc/thread-self/ns/net"

// ErrHost is the error of a name of a sandbox at which the host's own namespace is.
var ErrHost = errors.New("its name leads to the host's own")

// Do runs f in the named namespace; the empty name is the host's, and no other name may
// lead there: somebody has put it in another's place, and what is meant for a sandbox
// would be done to the host. f runs on a
// thread of its own, so everything it opens belongs to that namespace, and what
// it starts in other goroutines does not. At most maxInside calls run at a time;
// ctx bounds the wait for a place, not f. Where the process is at home anyway, nobody
// travels and nobody waits.
func (d *Dir) Do(ctx context.Context, name string, f func() error) error {
	if name == "" && d.atHome {
		return stay(f)
	}
	file, err := d.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if name != "" && d.isHost(file) {
		return fmt.Errorf("network namespace %s: %w", name, ErrHost)
	}
	return d.Enter(ctx, file, f)
}

// Enter is Do for a namespace that is already open.
func (d *Dir) Enter(ctx context.Context, namespace *os.File, f func() error) error {
	return d.visit(ctx, visit{
		arrive: func() error { return unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET) },
		inside: f,
	})
}

// stay runs f where this process is at home. The caller's own thread may be away.
func stay(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errAbandoned
		defer func() { done <- err }()
		err = f()
	}()
	return <-done
}

// errAbandoned is the result of a function that ends its goroutine.
var errAbandoned = errors.New("the visit to a network namespace was abandoned")

// visit is one stay of a thread in another namespace.
type visit struct {
	arrive func() error
	inside func() error
}

func (d *Dir) visit(ctx context.Context, v visit) error {
	select {
	case d.inside <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-d.inside }()
	done := make(chan error, 1)
	go v.run(done)
	return <-done
}

// run makes the visit on a locked thread. If the thread cannot come home it
// stays locked, and the Go runtime ends it together with this goroutine.
func (v visit) run(done chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// /proc/self shows the first thread of the process: it never travels.
		// While this goroutine holds it, the next one gets another.
		other := make(chan error, 1)
		go v.run(other)
		done <- <-other
		runtime.UnlockOSThread()
		return
	}
	err := errAbandoned
	defer func() { done <- err }()

	home, openErr := openFile(self)
	if openErr != nil {
		err = openErr
		runtime.UnlockOSThread()
		return
	}
	defer home.Close()
	if arriveErr := v.arrive(); arriveErr != nil {
		err = fmt.Errorf("enter network namespace: %w", arriveErr)
		runtime.UnlockOSThread()
		return
	}
	err = v.inside()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		err = errors.Join(err, fmt.Errorf("leave network namespace: %w", back))
		return
	}
	runtime.UnlockOSThread()
}

// openFile opens a namespace's file. os.Open would offer it to the poller first.
func openFile(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
