package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/link"
)

// want calls f with all that the link hand needs to know about a row.
func (t *turn) want(s *space, owner desired.Owner, row desired.Link, f func(link.Want) error) error {
	w := link.Want{Row: row, Instance: t.k.instance, Owner: owner, Conn: s.conn}
	if row.Peer == nil {
		return f(w)
	}
	return t.in(row.Peer.Namespace, func(peer *space) error {
		w.Peer, w.PeerFile = peer.conn, peer.file
		return f(w)
	})
}

func (t *turn) putLinks(g group) {
	t.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Link)
		if err := t.makeRoom(row); err != nil {
			return err
		}
		return t.want(s, d.Owner, row, func(w link.Want) error {
			have, err := w.Put()
			if taken := new(desired.NameTaken); t.repair && errors.As(err, &taken) {
				have, err = t.putBeside(w)
			}
			if err != nil {
				return fmt.Errorf("interface %s: %w", row.Name, err)
			}
			t.remember(s, row, have)
			return nil
		})
	})
}

// makeRoom removes, ahead of its time, a veth pair whose end in the container has
// the name that the new one's is to have: a container that leaves one network and
// joins another in one turn keeps its eth0.
func (t *turn) makeRoom(row desired.Link) error {
	if row.Peer == nil {
		return nil
	}
	old, doomed := t.doomedLinks[place{row.Peer.Namespace, row.Peer.Name}]
	if !doomed || old.Name == row.Name {
		return nil
	}
	return t.in(old.Namespace, func(s *space) error {
		return about(link.Delete(s.conn, t.k.instance, old), "remove interface %s", old.Name)
	})
}

// remember keeps what the links phase found, for the phases that enslave the
// link and bring it up.
func (t *turn) remember(s *space, row desired.Link, have link.State) {
	t.forgetLink(s, row.Name)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.links[place{s.name, row.Name}] = have
	if p := row.Peer; p != nil {
		delete(t.names, place{p.Namespace, p.Name})
		if have.Peer.Name != "" && have.Peer.Name != p.Name {
			t.names[place{p.Namespace, p.Name}] = have.Peer.Name
		}
		if peer, open := t.spaces[p.Namespace]; open {
			delete(peer.links, p.Name)
		}
	}
}

func (t *turn) found(s *space, row desired.Link) link.State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.links[place{s.name, row.Name}]
}

func (t *turn) putMasters(g group) {
	t.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Link)
		have := t.found(s, row).Host
		if row.Master == "" && have.Master == 0 || row.Adopt {
			return nil
		}
		master, err := t.masterOf(s, row)
		if err != nil {
			return fmt.Errorf("adding interface %s to bridge %s failed: %w", row.Name, row.Master, err)
		}
		if master.Index == have.Master {
			return t.setPort(s, row, have)
		}
		// The kernel's words are kept: users look up "exchange full", which is
		// how a bridge says that it has all its 1023 ports.
		if err := link.SetMaster(s.conn, row.Name, master.Index); err != nil {
			return fmt.Errorf("adding interface %s to bridge %s failed: %w", row.Name, row.Master, err)
		}
		if err := link.Enlarge(s.conn, t.k.instance, master, row.Packets); err != nil {
			return fmt.Errorf("let bridge %s take large packets: %w", row.Master, err)
		}
		have.Hairpin, have.Passes = false, 0 // of the previous bridge
		return t.setPort(s, row, have)
	})
}

func (t *turn) setPort(s *space, row desired.Link, have link.Info) error {
	if have.IsPort() || !(link.Want{Row: row}).IsPort() {
		return nil
	}
	return about(link.SetPort(s.conn, row.Name), "set up %s as a port", row.Name)
}

// masterOf returns the bridge that the row wants, the zero Info for none.
func (t *turn) masterOf(s *space, row desired.Link) (link.Info, error) {
	if row.Master == "" {
		return link.Info{}, nil
	}
	return t.lookup(s, row.Master)
}

// putUp brings links up, of a veth pair the end in the container last: it then
// has a carrier from the start, and the kernel sets up its IPv6 at once instead
// of when it gets round to watching links.
func (t *turn) putUp(g group) {
	t.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Link)
		have := t.found(s, row)
		if !have.Host.Up {
			if err := link.SetUp(s.conn, row.Name); err != nil {
				return fmt.Errorf("bring up %s: %w", row.Name, err)
			}
		}
		if row.Peer == nil || have.Host.Up && have.Peer.Up {
			return nil
		}
		return t.in(row.Peer.Namespace, func(peer *space) error {
			return about(t.connect(s, peer, row, have), "bring up %s", have.Peer.Name)
		})
	})
}

// connect brings up the end of a veth pair in the container. Then it looks at
// both: a kernel from 6.8 on takes that as a reason to tell the bridge at once
// that its port has a carrier; an older one does it within milliseconds.
func (t *turn) connect(s, peer *space, row desired.Link, have link.State) error {
	if !have.Peer.Up {
		if err := link.SetUp(peer.conn, have.Peer.Name); err != nil {
			return err
		}
	} else if _, err := link.Get(peer.conn, have.Peer.Name); err != nil {
		return err
	}
	_, err := link.Get(s.conn, row.Name)
	return err
}

// dropLinks removes links. Of a veth pair whose other end is in a namespace that
// is removed as well, only the function is removed at once; the kernel frees the
// rest together with the namespace.
func (t *turn) dropLinks(g group) {
	t.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Link)
		remove := link.Delete
		if row.Peer != nil && t.doomedSpaces[row.Peer.Namespace] {
			remove = link.Retire
		}
		if err := remove(s.conn, t.k.instance, row); err != nil {
			return fmt.Errorf("remove interface %s: %w", row.Name, err)
		}
		t.forgetLink(s, row.Name)
		return nil
	})
}

// putBeside makes a veth pair anew whose name in the container is taken by an
// interface of the container's own: under the next free name. It is known by its
// other end ever after.
func (t *turn) putBeside(w link.Want) (link.State, error) {
	all, err := link.List(w.Peer)
	if err != nil {
		return link.State{}, err
	}
	used := map[string]bool{}
	for _, i := range all {
		used[i.Name] = true
	}
	peer := *w.Row.Peer
	if peer.Name = freeName(peer.Name, used); peer.Name == "" {
		return link.State{}, &desired.NameTaken{Namespace: peer.Namespace, Link: w.Row.Name, Name: w.Row.Peer.Name}
	}
	w.Row.Peer = &peer
	return w.Put()
}

// maxNumber bounds the search for a free name of an interface.
const maxNumber = 4096

// freeName returns the first name that is not used and has the letters of the given
// one before its number; empty if there is none.
func freeName(name string, used map[string]bool) string {
	prefix := strings.TrimRight(name, "0123456789")
	for i := range maxNumber {
		free := prefix + strconv.Itoa(i)
		if len(free) < unix.IFNAMSIZ && !used[free] {
			return free
		}
	}
	return ""
}

// renamed returns the path of a setting as the container has named its interface.
func (t *turn) renamed(row desired.Sysctl) string {
	parts := strings.Split(row.Path, "/")
	if len(parts) != sysctlParts {
		return row.Path
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if name, known := t.names[place{row.Namespace, parts[3]}]; known {
		parts[3] = name
	}
	return strings.Join(parts, "/")
}

// sysctlParts is how many parts the path of an interface's setting has:
// net/ipv6/conf/eth0/accept_ra.
const sysctlParts = 5

// missed notes that a row had no place: its namespace, its interface, or the subnet
// of its gateway in a container is gone, and nothing in this turn makes it. A
// setting that is not there may never have been.
func (t *turn) missed(d desired.Delta, err error) {
	gone := errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist)
	if d.Space() != desired.HostNamespace {
		gone = gone || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH)
	}
	if t.repair || !gone || d.Key().Kind == desired.KindSysctl {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = true
}
