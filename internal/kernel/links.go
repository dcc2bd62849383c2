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

// links makes desired.Link so. A link is down until its settings, its bridge and its
// addresses are there.
type links struct{ *pass }

func handleLinks(p *pass) handler {
	h := links{p}
	return handler{
		name: "links", find: p.inEach("links", desired.KindLink, h.find), put: h.put, drop: h.drop,
		then: []then{{desired.KindFence, "masters", h.enslave}, {desired.KindAddr, "links up", h.bringUp}},
	}
}

func (h links) find(g group) (f found, err error) {
	err = h.in(g.space, func(s *space) error {
		there, err := h.there(s, g)
		if err != nil {
			return err
		}
		for _, d := range g.deltas {
			row := d.New.(desired.Link)
			have, exists := there[row.Name]
			delete(there, row.Name)
			if !exists {
				h.remake(row, d.Owner)
				f.check(d, missing)
				continue
			}
			f.check(d, h.drift(s, d.Owner, row, have))
		}
		for _, i := range there {
			if owner, ours := h.stray(g.space, i); ours {
				f.stray(owner, desired.Link{Namespace: g.space, Name: i.Name, Type: desired.LinkType(i.Type), Group: i.Group})
			}
		}
		return nil
	})
	return f, err
}

// there returns the links of a namespace by name; those of the group alone if nothing
// else is compared.
func (h links) there(s *space, g group) (map[string]link.Info, error) {
	out := map[string]link.Info{}
	if h.scope != ofOwners {
		all, err := link.List(s.conn)
		for _, i := range all {
			out[i.Name] = i
		}
		return out, err
	}
	for _, d := range g.deltas {
		name := d.New.(desired.Link).Name
		have, err := link.Get(s.conn, name)
		if errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[name] = have
	}
	return out, nil
}

// remake notes that both ends of a veth pair are made anew.
func (h links) remake(row desired.Link, owner desired.Owner) {
	if row.Peer != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.remade[place{row.Peer.Namespace, row.Peer.Name}] = owner
	}
}

// stray tells whether a link that nobody wants is ours to remove. A port in
// our group without an alias is one that a crash left half made.
func (h links) stray(space string, i link.Info) (owner desired.Owner, ours bool) {
	if i.Name == loopback || link.Dying(h.k.instance, i) {
		return "", false
	}
	if owner, ours = link.Owner(h.k.instance, i); ours {
		return owner, true
	}
	halfMade := space == desired.HostNamespace && i.Type == string(desired.LinkVeth) && i.Group == desired.PortGroup && i.Alias == ""
	return desired.HostOwner, halfMade
}

func (h links) drift(s *space, owner desired.Owner, row desired.Link, have link.Info) (why string) {
	master, err := h.masterOf(s, row)
	if errors.Is(err, unix.ENODEV) {
		return "bridge " + row.Master + " is missing"
	}
	if err == nil && h.scope != ofAll {
		w := link.Want{Row: row, Instance: h.k.instance, Owner: owner}
		h.remember(s, row, link.State{Host: have})
		return w.HostDrift(have, master.Index)
	}
	if err == nil {
		err = h.want(s, owner, row, func(w link.Want) error {
			both, err := w.WithPeer(have)
			if err == nil {
				why = w.Drift(both, master.Index)
				h.remember(s, row, both)
			}
			return err
		})
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "the namespace of its other end is missing"
	}
	if err != nil {
		return err.Error()
	}
	return why
}

// want calls f with all that the link hand needs to know about a row.
func (h links) want(s *space, owner desired.Owner, row desired.Link, f func(link.Want) error) error {
	w := link.Want{Row: row, Instance: h.k.instance, Owner: owner, Conn: s.conn}
	if row.Peer == nil {
		return f(w)
	}
	return h.in(row.Peer.Namespace, func(peer *space) error {
		w.Peer, w.PeerFile = peer.conn, peer.file
		return f(w)
	})
}

func (h links) put(g group) {
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Link)
		if err := h.makeRoom(row); err != nil {
			return err
		}
		return h.want(s, d.Owner, row, func(w link.Want) error {
			have, err := w.Put()
			if taken := new(desired.NameTaken); h.repair && errors.As(err, &taken) {
				have, err = h.putBeside(w)
			}
			if err != nil {
				return fmt.Errorf("interface %s: %w", row.Name, err)
			}
			h.remember(s, row, have)
			return nil
		})
	})
}

// makeRoom removes, ahead of its time, a veth pair whose end in the container has
// the name that the new one's is to have: a container that leaves one network and
// joins another in one pass keeps its eth0.
func (h links) makeRoom(row desired.Link) error {
	if row.Peer == nil {
		return nil
	}
	old, doomed := h.doomedLinks[place{row.Peer.Namespace, row.Peer.Name}]
	if !doomed || old.Name == row.Name {
		return nil
	}
	return h.in(old.Namespace, func(s *space) error {
		return about(link.Delete(s.conn, h.k.instance, old), "remove interface %s", old.Name)
	})
}

// remember keeps what the step of links found, for those that enslave the
// link and bring it up.
func (h links) remember(s *space, row desired.Link, have link.State) {
	h.forgetLink(s, row.Name)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.links[place{s.name, row.Name}] = have
	if p := row.Peer; p != nil {
		delete(h.names, place{p.Namespace, p.Name})
		if have.Peer.Name != "" && have.Peer.Name != p.Name {
			h.names[place{p.Namespace, p.Name}] = have.Peer.Name
		}
		if peer, open := h.spaces[p.Namespace]; open {
			delete(peer.links, p.Name)
		}
	}
}

func (h links) state(s *space, row desired.Link) link.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links[place{s.name, row.Name}]
}

func (h links) enslave(g group) {
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Link)
		have := h.state(s, row).Host
		if row.Master == "" && have.Master == 0 || row.Adopt {
			return nil
		}
		master, err := h.masterOf(s, row)
		if err != nil {
			return fmt.Errorf("adding interface %s to bridge %s failed: %w", row.Name, row.Master, err)
		}
		if master.Index == have.Master {
			return h.setPort(s, row, have)
		}
		// The kernel's words are kept: users look up "exchange full", which is
		// how a bridge says that it has all its 1023 ports.
		if err := link.SetMaster(s.conn, row.Name, master.Index); err != nil {
			return fmt.Errorf("adding interface %s to bridge %s failed: %w", row.Name, row.Master, err)
		}
		if err := link.Enlarge(s.conn, h.k.instance, master, row.Packets); err != nil {
			return fmt.Errorf("let bridge %s take large packets: %w", row.Master, err)
		}
		have.Hairpin, have.Passes = false, 0 // of the previous bridge
		return h.setPort(s, row, have)
	})
}

func (h links) setPort(s *space, row desired.Link, have link.Info) error {
	if have.IsPort() || !(link.Want{Row: row}).IsPort() {
		return nil
	}
	return about(link.SetPort(s.conn, row.Name), "set up %s as a port", row.Name)
}

// masterOf returns the bridge that the row wants, the zero Info for none.
func (h links) masterOf(s *space, row desired.Link) (link.Info, error) {
	if row.Master == "" {
		return link.Info{}, nil
	}
	return h.lookup(s, row.Master)
}

// bringUp brings links up, of a veth pair the end in the container last: it then
// has a carrier from the start, and the kernel sets up its IPv6 at once instead
// of when it gets round to watching links.
func (h links) bringUp(g group) {
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Link)
		have := h.state(s, row)
		if !have.Host.Up {
			if err := link.SetUp(s.conn, row.Name); err != nil {
				return fmt.Errorf("bring up %s: %w", row.Name, err)
			}
		}
		if row.Peer == nil || have.Host.Up && have.Peer.Up {
			return nil
		}
		return h.in(row.Peer.Namespace, func(peer *space) error {
			return about(h.connect(s, peer, row, have), "bring up %s", have.Peer.Name)
		})
	})
}

// connect brings up the end of a veth pair in the container. Then it looks at
// both: a kernel from 6.8 on takes that as a reason to tell the bridge at once
// that its port has a carrier; an older one does it within milliseconds.
func (h links) connect(s, peer *space, row desired.Link, have link.State) error {
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

// drop removes links. Of a veth pair whose other end is in a namespace that
// is removed as well, only the function is removed at once; the kernel frees the
// rest together with the namespace.
func (h links) drop(g group) {
	h.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Link)
		remove := link.Delete
		if row.Peer != nil && h.doomedSpaces[row.Peer.Namespace] {
			remove = link.Retire
		}
		if err := remove(s.conn, h.k.instance, row); err != nil {
			return fmt.Errorf("remove interface %s: %w", row.Name, err)
		}
		h.forgetLink(s, row.Name)
		return nil
	})
}

// putBeside makes a veth pair anew whose name in the container is taken by an
// interface of the container's own: under the next free name. It is known by its
// other end ever after.
func (h links) putBeside(w link.Want) (link.State, error) {
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
