package kernel

import (
	"fmt"

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
			return about(t.connect(s, peer, row, have), "bring up %s", row.Peer.Name)
		})
	})
}

// connect brings up the end of a veth pair in the container. Then it looks at
// both: a kernel from 6.8 on takes that as a reason to tell the bridge at once
// that its port has a carrier; an older one does it within milliseconds.
func (t *turn) connect(s, peer *space, row desired.Link, have link.State) error {
	if !have.Peer.Up {
		if err := link.SetUp(peer.conn, row.Peer.Name); err != nil {
			return err
		}
	} else if _, err := link.Get(peer.conn, row.Peer.Name); err != nil {
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
