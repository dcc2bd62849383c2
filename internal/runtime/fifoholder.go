package runtime

import (
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// shimPatience is how long a shim waits for somebody to read the output of a process
// that it starts.
const shimPatience = 30 * time.Second

// fifoHolder holds the reading ends of output that an earlier daemon may have left
// without a reader. The zero value is ready.
//
// A shim that starts a process opens the FIFOs for writing, which waits for a reader
// (fifo(7)). For the first process it holds the lock meanwhile that every question
// takes; for an exec it holds that of its events, and the first process to end makes
// it wait for that with the other lock held. So when the daemon died amid a start,
// the shim answered nobody for half a minute, and a containerd that was started in
// that time took it for dead. An end that is open, without being read, is enough.
type fifoHolder struct {
	mu   sync.Mutex
	ends map[model.ContainerID][]int // file descriptors
}

// open opens what there is below a folder of FIFOs. A container that ends meanwhile
// takes its FIFOs along.
func (u *fifoHolder) open(root string) {
	paths, _ := filepath.Glob(filepath.Join(root, "*", "*-std[oe]*")) // the pattern is good
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ends = map[model.ContainerID][]int{}
	for _, path := range paths {
		end, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		id := model.ContainerID(filepath.Base(filepath.Dir(path)))
		u.ends[id] = append(u.ends[id], end)
	}
}

// close closes the ends of one container.
func (u *fifoHolder) close(id model.ContainerID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closeLocked(id)
}

func (u *fifoHolder) closeAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id := range u.ends {
		u.closeLocked(id)
	}
}

func (u *fifoHolder) closeLocked(id model.ContainerID) {
	for _, end := range u.ends[id] {
		unix.Close(end) //nolint:errcheck // nothing was written
	}
	delete(u.ends, id)
}
