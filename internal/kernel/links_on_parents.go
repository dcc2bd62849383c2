package kernel

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/link"
)

// Two links on one parent cannot have the same address (a macvlan its MAC address, an
// ipvlan its IP addresses), and whoever comes next may have that of one that leaves, be
// it in this pass or in the next. So they do not wait for the end of their namespace,
// and they leave before others come. So it is with a VXLAN, whose number nobody else on
// the host can have, and WireGuard with its port.

// putOnParents makes the links that hang on others, which are there now.
func (h links) putOnParents(g group) {
	h.leave.Do(h.dropOnParents)
	h.putSome(g, desired.Link.OnParent)
}

// dropOnParents removes, ahead of their time, the links on parents that are removed in
// this pass.
func (h links) dropOnParents() {
	for _, d := range h.leaving {
		h.try(d, func() error {
			err := h.in(d.Space(), func(s *space) error { return h.dropOnParent(s, d.Owner, d.Old.(desired.Link)) })
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
	}
}

// dropOnParent removes a link, whatever name a container has given it. One that dies
// with its namespace is only taken down, if that is enough, since that is faster.
func (h links) dropOnParent(s *space, owner desired.Owner, row desired.Link) error {
	var have link.State
	err := h.want(s, owner, row, func(w link.Want) (err error) {
		have, err = w.Look()
		return err
	})
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	if row.Type == desired.LinkMoved {
		h.forgetLink(s, row.Name)
		err := h.want(s, owner, row, func(w link.Want) error { return w.GiveBack(have.Host) })
		return about(err, "give interface %s back", row.Name)
	}
	remove := link.Delete
	if h.doomedSpaces[s.name] && row.Type == desired.LinkMacvlan && have.Host.Parent.Mode != link.Exclusive {
		remove = link.Retire
	}
	h.forgetLink(s, row.Name)
	row.Name = have.Host.Name
	return about(remove(s.conn, h.k.instance, row), "remove interface %s", row.Name)
}
