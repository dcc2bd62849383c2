package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/netns"
)

// A namespace is known by what it is, not by the file that names it: it is the one
// in which the container's processes are. The kernel keeps which they are (the
// census, by cgroup), and a process may have gone on to a further namespace of its
// own; so the mark inside decides, then the far end of a link of ours, then which
// process is the oldest.

// claim is how sure it is that a namespace is the one looked for.
type claim int

const (
	disowned claim = iota // the host's, or one that was given up
	lodged                // a process of the container is in it
	linked                // an interface of ours leads into it
	marked                // it bears our mark
)

// rename gives a name back to the namespace that lives. wrong is where the name
// leads now, nil if nowhere; it stays so if nothing lives, and is closed if
// something else does. The error is fs.ErrNotExist if there is neither. A dry turn
// looks into the namespace and leaves the name.
func (t *turn) rename(name string, wrong *space) (*space, error) {
	file := t.living(name)
	switch {
	case file == nil && wrong == nil:
		return nil, fmt.Errorf("network namespace %s: %w", name, fs.ErrNotExist)
	case file == nil:
		return wrong, nil
	case wrong != nil && netns.Same(file, wrong.file):
		return wrong, file.Close()
	case wrong != nil:
		wrong.close()
	}
	if wrong == nil {
		t.tell("namespace " + name + ": its name is gone, and it lives")
	} else {
		t.tell("namespace " + name + ": its name leads to another namespace")
	}
	if !t.dry {
		if err := t.k.netns.Bind(t.ctx, name, file); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		t.k.writes.Add(1)
		t.k.log.Warn("a running container's network namespace has its name again, which somebody had taken away",
			"op", "netns.bind", "container", name)
	}
	return t.dial(name, file)
}

// living opens the namespace that the processes of a container are in; nil if there
// is none.
func (t *turn) living(name string) (best *os.File) {
	sure := disowned
	var seen []os.FileInfo
	for _, p := range t.processes(name) {
		file, err := netns.Inside(p)
		if err != nil {
			continue // it has ended
		}
		info, err := file.Stat()
		known := err != nil
		for _, other := range seen {
			known = known || os.SameFile(info, other)
		}
		how := disowned
		if !known {
			seen = append(seen, info)
			how = t.claimTo(name, file)
		}
		if how <= sure {
			file.Close()
			continue
		}
		if best != nil {
			best.Close()
		}
		best, sure = file, how
	}
	return best
}

func (t *turn) processes(name string) []netns.Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.census == nil {
		t.census = t.k.census()
	}
	return t.census[name]
}

// claimTo says how sure it is that a namespace, in which a process of the container
// is, is the container's own.
func (t *turn) claimTo(name string, file *os.File) claim {
	if netns.Same(file, t.k.hostFile) {
		return disowned
	}
	dup, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return disowned
	}
	s, err := t.dial(name, os.NewFile(uintptr(dup), file.Name()))
	if err != nil {
		return disowned
	}
	defer s.close()
	lo, err := link.Get(s.conn, loopback)
	switch {
	case err != nil || link.Dying(t.k.instance, lo):
		return disowned
	case ours(t.k.instance, lo):
		return marked
	}
	return max(lodged, t.linkedTo(s))
}

// linkedTo tells whether the other end of a link of ours on the host is in a
// namespace.
func (t *turn) linkedTo(s *space) claim {
	all, err := link.List(s.conn)
	if err != nil {
		return disowned
	}
	for _, i := range all {
		if i.Type != "veth" {
			continue
		}
		host, err := link.ByIndex(t.k.host, i.PeerIndex)
		if err == nil && ours(t.k.instance, host) && host.PeerIndex == i.Index {
			return linked
		}
	}
	return disowned
}

// ours tells whether a link, or the namespace that it is the loopback interface of,
// bears our mark and was not given up.
func ours(instance string, i link.Info) bool {
	_, marked := link.Owner(instance, i)
	return marked && !link.Dying(instance, i)
}

// tell adds a line to the drift, once.
func (t *turn) tell(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.drift, line) {
		t.drift = append(t.drift, line)
	}
}
