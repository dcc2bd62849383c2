package kernel

import (
	"cmp"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
	"github.com/linkspan/linkspan/internal/model"
)

// place is a link by name.
type place struct{ space, link string }

// space is a namespace that is open during a pass.
type space struct {
	name  string
	file  *os.File
	conn  *rtnl.Conn
	users int
	links map[string]link.Info // by name, as they were when first looked up; guarded by pass.mu
}

// in calls f with the namespace open. The error is fs.ErrNotExist if it is not
// there.
func (p *pass) in(name string, f func(*space) error) error {
	s, err := p.open(name)
	if err != nil {
		return err
	}
	defer p.release(s)
	return f(s)
}

func (p *pass) open(name string) (*space, error) {
	p.mu.Lock()
	s, known := p.spaces[name]
	if known {
		s.users++
	}
	p.mu.Unlock()
	if known {
		return s, nil
	}
	s, err := p.enter(name)
	if err != nil {
		return nil, err
	}
	return p.keep(s), nil
}

// enter opens a namespace by its name. If the name is gone, or leads to a namespace
// that is not ours, it is given back to the one that lives (see living).
func (p *pass) enter(name string) (*space, error) {
	file, err := p.k.netns.Open(name)
	guest := model.IsGuest(name) // known by which it is, see guests.go
	if errors.Is(err, fs.ErrNotExist) && !p.doomedSpaces[name] && !guest {
		return p.rename(name, nil)
	}
	if err != nil {
		return nil, err
	}
	s, err := p.dial(name, file)
	if err != nil {
		return nil, err
	}
	if guest {
		return s, nil
	}
	if lo, err := p.lookup(s, loopback); err != nil || p.doomedSpaces[name] || ours(p.k.instance, lo) {
		return s, nil
	}
	return p.rename(name, s)
}

// look opens a namespace just as its name leads, whosever it is.
func (p *pass) look(name string, f func(*space) error) error {
	file, err := p.k.netns.Open(name)
	if err != nil {
		return err
	}
	s, err := p.dial(name, file)
	if err != nil {
		return err
	}
	defer s.close()
	return f(s)
}

// dial begins to speak with a namespace. It closes file if that fails.
func (p *pass) dial(name string, file *os.File) (s *space, err error) {
	s = &space{name: name, file: file, users: 1, links: map[string]link.Info{}}
	if s.conn, err = p.k.dial(p.ctx, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return s, nil
}

// keep adds an open namespace to the pass, or closes it in favour of the one
// that another worker opened meanwhile.
func (p *pass) keep(s *space) *space {
	p.mu.Lock()
	defer p.mu.Unlock()
	if other, known := p.spaces[s.name]; known {
		s.close()
		other.users++
		return other
	}
	p.spaces[s.name] = s
	return s
}

// release lets go of a namespace, and closes it if too many are open.
func (p *pass) release(s *space) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.users--
	if s.users == 0 && len(p.spaces) > maxSpaces {
		delete(p.spaces, s.name)
		s.close()
	}
}

// shut closes a namespace before it is removed.
func (p *pass) shut(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, known := p.spaces[name]; known && name != desired.HostNamespace {
		delete(p.spaces, name)
		s.close()
	}
}

// close gives back what the namespace has been opened with so far.
func (s *space) close() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.file != nil {
		s.file.Close()
	}
}

// indexOf returns the index of a link, looked up once in a pass.
func (p *pass) indexOf(s *space, name string) (int, error) {
	i, err := p.lookup(s, name)
	return i.Index, err
}

// lookup returns a link as it was when the pass first needed it.
func (p *pass) lookup(s *space, name string) (link.Info, error) {
	p.mu.Lock()
	i, known := s.links[name]
	actual := cmp.Or(p.names[place{s.name, name}], name)
	p.mu.Unlock()
	if known {
		return i, nil
	}
	i, err := link.Get(s.conn, actual)
	if err != nil {
		return link.Info{}, err
	}
	p.mu.Lock()
	s.links[name] = i
	p.mu.Unlock()
	return i, nil
}

// isDoomed tells whether a link is removed in this pass.
func (p *pass) isDoomed(s *space, name string) bool {
	_, doomed := p.doomedLinks[place{s.name, name}]
	return doomed
}

// forgetLink is for links that were made anew.
func (p *pass) forgetLink(s *space, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(s.links, name)
}

// onLink removes something from a link, unless the link goes as a whole or is
// gone.
func (p *pass) onLink(s *space, name string, f func(index int) error) error {
	if p.isDoomed(s, name) {
		return nil
	}
	index, err := p.indexOf(s, name)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	return f(index)
}

// nameOf names a link for a stray row; a link that is gone has no name, and then
// nothing is left to remove.
func nameOf(s *space, index int) string {
	i, err := link.ByIndex(s.conn, index)
	if err != nil {
		return ""
	}
	return i.Name
}
