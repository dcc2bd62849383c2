// Package limits lets a process live within what it is given: it says how many
// descriptors there are, shares places among those who want many, and waits out
// the time in which there are none.
//
//	accept(2) fails ──▶ Scarce? ──▶ Outage.Wait ──▶ accept again
//	a client comes  ──▶ Share.Enter ──▶ Pool: at most a part of Files
//
// It promises that nobody who has little is shut out by those who have much, that
// a lack is logged once and not each time somebody meets it, and that time spans do
// not follow the clock of the wall. It must not know what the places are for.
package limits

import (
	"errors"
	"syscall"
)

// fallback is how many descriptors are counted on where the kernel does not say:
// the kernel's own default (getrlimit(2)).
const fallback = 1024

// unlimited stands for RLIM_INFINITY: as many as fs.nr_open allows by default.
const unlimited = 1 << 20

// Files returns how many descriptors this process may have open (RLIMIT_NOFILE,
// getrlimit(2)), as of now: somebody outside may change it (prlimit(1)). The Go
// runtime has raised the soft limit to the hard one when the process began.
func Files() int64 {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return fallback
	}
	return int64(min(r.Cur, unlimited))
}

// OneIn returns the function that says how many one part in n of the descriptors
// are, one at least: what Pool.Limit takes.
func OneIn(n int64) func() int64 {
	return func() int64 { return max(Files()/n, 1) }
}

// Scarce tells whether an error says that the process, or the host, has run out of
// descriptors or of memory for them. That is no fault of what was asked for, and
// passes.
func Scarce(err error) bool {
	for _, lack := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

// Passing tells whether a listener that returned this error is as good as before:
// what Scarce names, and what became of one connection before it was accepted, which
// accept(2) on Linux passes on.
func Passing(err error) bool {
	for _, gone := range []syscall.Errno{
		syscall.EINTR, syscall.ECONNABORTED, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.EHOSTDOWN,
		syscall.ENONET, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH, syscall.ETIMEDOUT, syscall.ECONNRESET,
	} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return Scarce(err)
}
