package runtime

import "sync"

// life is the time from Open to Close, in which goroutines may run.
type life struct {
	done chan struct{} // closed when it ends
	work sync.WaitGroup

	mu    sync.Mutex
	ended bool
}

// spawn runs f beside its caller; who ends the life waits for it. It returns false once
// that has ended.
func (l *life) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.work.Go(f)
	return true
}

// end ends it; false if it has ended already.
func (l *life) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.ended = true
	close(l.done)
	return true
}
