package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

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
		then: []then{
			{desired.KindLink, "links on parents", h.putOnParents}, {desired.KindFence, "masters", h.enslave}, {desired.KindAddr, "links up", h.bringUp},
		},
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
			have, exists := h.among(d.Owner, row, there)
			delete(there, have.Name)
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
	if h.scope != ofOwners || g.space != desired.HostNamespace { // in containers, links may have other names
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

// remake notes that what a container has of a link is made anew.
func (h links) remake(row desired.Link, owner desired.Owner) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if row.Peer != nil {
		h.remade[place{row.Peer.Namespace, row.Peer.Name}] = owner
	}
	if row.OnParent() && row.Namespace != desired.HostNamespace {
		h.remade[place{row.Namespace, row.Name}] = owner
	}
}

// among picks what there is of a wanted link from those of its namespace.
func (h links) among(owner desired.Owner, row desired.Link, all map[string]link.Info) (link.Info, bool) {
	if row.Parent != nil {
		return link.Want{Row: row, Instance: h.k.instance, Owner: owner}.Among(slices.Collect(maps.Values(all)))
	}
	have, there := all[row.Name]
	return have, there
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
	if i.Name == link.Unfinished(h.k.instance, space) {
		return desired.HostOwner, true
	}
	halfMade := space == desired.HostNamespace && i.Type == string(desired.LinkVeth) && i.Group == desired.PortGroup && i.Alias == ""
	return desired.HostOwner, halfMade
}

func (h links) drift(s *space, owner desired.Owner, row desired.Link, have link.Info) (why string) {
	master, err := h.masterOf(s, row)
	if errors.Is(err, unix.ENODEV) {
		return "bridge " + row.Master + " is missing"
	}
	if err == nil && h.scope != ofAll && row.Parent == nil {
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
	w := link.Want{Row: row, Instance: h.k.instance, Owner: owner, Conn: s.conn, Netns: h.k.netns}
	if row.Parent != nil || row.Outside() {
		return h.in(row.Home(), func(home *space) error {
			w.Parent, w.Home = home.conn, home.file
			if s != home {
				w.File = s.file
			}
			return f(w)
		})
	}
	if row.Peer == nil {
		return f(w)
	}
	return h.in(row.Peer.Namespace, func(peer *space) error {
		w.Peer, w.PeerFile = peer.conn, peer.file
		return f(w)
	})
}

func (h links) put(g group) {
	h.putSome(g, func(row desired.Link) bool { return !row.OnParent() })
}

// putSome makes those links of a group so that which picks.
func (h links) putSome(g group, which func(desired.Link) bool) {
	g.deltas = slices.DeleteFunc(slices.Clone(g.deltas), func(d desired.Delta) bool { return !which(d.New.(desired.Link)) })
	if len(g.deltas) == 0 {
		return
	}
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Link)
		if row.Outside() { // of one number there is one on a host
			h.leave.Do(h.dropOnParents)
		}
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

// makeRoom removes, ahead of its time, a link whose end in the container has the name
// that the new one's is to have: a container that leaves one network and joins another
// in one pass keeps its eth0.
func (h links) makeRoom(row desired.Link) error {
	end := place{row.Namespace, row.Name}
	if row.Peer != nil {
		end = place{row.Peer.Namespace, row.Peer.Name}
	}
	old, doomed := h.doomedLinks[end]
	if !doomed || old.Key() == row.Key() || end.space == desired.HostNamespace {
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
	if row.OnParent() {
		delete(h.names, place{s.name, row.Name})
		if have.Host.Name != "" && have.Host.Name != row.Name {
			h.names[place{s.name, row.Name}] = have.Host.Name
		}
	}
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
		if row.Master == "" && have.Master == 0 || row.Adopt || row.OnParent() {
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
			if err := link.BringUp(s.conn, row, cmp.Or(have.Host.Name, row.Name)); err != nil {
				return err
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
	if h.doomedSpaces[g.space] {
		h.leave.Do(h.dropOnParents)
	}
	h.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Link)
		if row.OnParent() {
			return h.dropOnParent(s, d.Owner, row)
		}
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

// putBeside makes a link anew whose name in the container is taken by an interface of
// the container's own: under the next free name. It is known by its other end, or its
// mark, ever after.
func (h links) putBeside(w link.Want) (link.State, error) {
	inside, name := w.Peer, &w.Row.Name
	if w.Row.Peer == nil {
		inside = w.Conn
	} else {
		peer := *w.Row.Peer
		w.Row.Peer, name = &peer, &peer.Name
	}
	free, err := link.FreeName(inside, *name)
	if err == nil && free == "" {
		err = &desired.NameTaken{Namespace: w.Row.Namespace, Link: w.Row.Name, Name: *name}
	}
	if err != nil {
		return link.State{}, err
	}
	*name = free
	return w.Put()
}
