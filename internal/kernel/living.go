package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/netns"
)

// A namespace is known by what it is, not by the file that names it: it is the one
// in which the container's processes are. The kernel keeps which they are (the
// census, by cgroup), and a process may have gone on to a further namespace of its
// own; so the mark inside decides, then the far end of a link of ours, then which
// process is the oldest.

// evidence is how sure it is that a namespace is the one looked for.
type evidence int

const (
	disowned evidence = iota // the host's, or one that was given up
	lodged                   // a process of the container is in it
	linked                   // an interface of ours leads into it
	marked                   // it bears our mark
)

// rename gives a name back to the namespace that lives. wrong is where the name
// leads now, nil if nowhere; it stays so if nothing lives, and is closed if
// something else does. The error is fs.ErrNotExist if there is neither. A dry pass
// looks into the namespace and leaves the name.
func (p *pass) rename(name string, wrong *space) (*space, error) {
	file := p.living(name)
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
		p.tell("namespace " + name + ": its name is gone, and it lives")
	} else {
		p.tell("namespace " + name + ": its name leads to another namespace")
	}
	if !p.dry {
		if err := p.k.netns.Bind(p.ctx, name, file); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		p.k.writes.Add(1)
		p.k.log.Warn("a running container's network namespace has its name again, which somebody had taken away",
			"op", "netns.bind", "container", name)
	}
	return p.dial(name, file)
}

// living opens the namespace that the processes of a container are in; nil if there
// is none.
func (p *pass) living(name string) (best *os.File) {
	sure := disowned
	var seen []os.FileInfo
	for _, process := range p.processes(name) {
		file, err := netns.Inside(process)
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
			how = p.evidenceFor(name, file)
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

func (p *pass) processes(name string) []netns.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.census == nil {
		p.census = p.k.census()
	}
	return p.census[name]
}

// evidenceFor says how sure it is that a namespace, in which a process of the container
// is, is the container's own.
func (p *pass) evidenceFor(name string, file *os.File) evidence {
	if netns.Same(file, p.k.hostFile) {
		return disowned
	}
	dup, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return disowned
	}
	s, err := p.dial(name, os.NewFile(uintptr(dup), file.Name()))
	if err != nil {
		return disowned
	}
	defer s.close()
	lo, err := link.Get(s.conn, loopback)
	switch {
	case err != nil || link.Dying(p.k.instance, lo):
		return disowned
	case ours(p.k.instance, lo):
		return marked
	}
	return max(lodged, p.linkedTo(s))
}

// linkedTo tells whether the other end of a link of ours on the host is in a
// namespace.
func (p *pass) linkedTo(s *space) evidence {
	all, err := link.List(s.conn)
	if err != nil {
		return disowned
	}
	for _, i := range all {
		if i.Type != "veth" {
			continue
		}
		host, err := link.ByIndex(p.k.host, i.PeerIndex)
		if err == nil && ours(p.k.instance, host) && host.PeerIndex == i.Index {
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
