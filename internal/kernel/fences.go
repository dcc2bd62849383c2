package kernel

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/fence"
	"github.com/linkspan/linkspan/internal/kernel/part"
	"github.com/linkspan/linkspan/internal/kernel/sysctl"
)

// fences makes desired.Fence so.
type fences struct{ *pass }

func handleFences(p *pass) handler {
	h := fences{p}
	find := func(want desired.State) (wrong, strays []desired.Delta) {
		return p.inEach("fences", desired.KindFence, func(g group) (found, error) { return h.find(g, part.Unfenced(want)) })(want)
	}
	return handler{name: "fences", find: find, put: h.put, drop: h.drop}
}

// find says nothing where the kernel cannot do it: that was said once.
func (h fences) find(g group, open []string) (f found, err error) {
	if g.space != desired.HostNamespace || len(g.deltas)+len(open) == 0 || h.k.unfenced.Load() {
		return f, nil
	}
	err = h.in(g.space, func(s *space) error {
		for _, link := range open {
			if err := h.findStray(&f, s, link); err != nil {
				return err
			}
		}
		for _, d := range g.deltas {
			row := d.New.(desired.Fence)
			index, there, err := f.onLink(h.pass, s, row.Link, d)
			if err != nil {
				return err
			}
			if !there {
				continue
			}
			why, err := fence.Drift(s.conn, index, row)
			if err != nil {
				return err
			}
			if why == "" && row.Localhost {
				why = h.localnetDrift(s, row.Link)
			}
			f.check(d, why)
		}
		return nil
	})
	return f, err
}

// findStray looks for a fence at a bridge that is to have none. What it was is not known:
// one for localhost is assumed, which is unset as a whole.
func (h fences) findStray(f *found, s *space, link string) error {
	row := desired.Fence{Link: link, Localhost: true}
	index, err := h.indexOf(s, link)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	if why, err := fence.Drift(s.conn, index, row); err != nil || why == missing {
		return err
	}
	f.stray(desired.HostOwner, row)
	return nil
}

func (h fences) localnetDrift(s *space, link string) (why string) {
	err := h.k.netns.Enter(h.ctx, s.file, func() error {
		tree := h.k.sysctls.Open()
		defer tree.Close()
		if why = tree.Drift(sysctl.RouteLocalnet(link), "1"); why != "" {
			why = "route_localnet " + why
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return why
}

func (h fences) put(g group) {
	h.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Fence)
		return about(h.putOne(s, row), "fence %s", row.Link)
	})
}

// putOne drops packets first and lets addresses of localhost be routed then; the
// other way round where that is no longer wanted.
func (h fences) putOne(s *space, row desired.Fence) error {
	index, err := h.indexOf(s, row.Link)
	if err != nil {
		return err
	}
	if !row.Localhost {
		err = h.setLocalnet(s, row.Link, "0")
	}
	if err == nil {
		err = fence.Put(s.conn, index, row)
	}
	switch {
	case errors.Is(err, fence.ErrUnsupported):
		if !h.k.unfenced.Swap(true) {
			h.k.log.Warn("ports published on 127.0.0.1 are not reached there, and internal networks are closed by the firewall alone",
				"op", "fence", "err", err)
		}
		return nil
	case err == nil && row.Localhost:
		return h.setLocalnet(s, row.Link, "1")
	}
	return err
}

// setLocalnet sets route_localnet of a link; one that is gone has none.
func (h fences) setLocalnet(s *space, link, value string) error {
	return h.k.netns.Enter(h.ctx, s.file, func() error {
		tree := h.k.sysctls.Open()
		defer tree.Close()
		wrote, err := tree.Put(sysctl.RouteLocalnet(link), value)
		if wrote {
			h.k.writes.Add(1)
		}
		if value == "0" && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// drop is for bridges that stay, because they were there before.
func (h fences) drop(g group) {
	h.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Fence)
		return h.onLink(s, row.Link, func(index int) error {
			if row.Localhost {
				if err := h.setLocalnet(s, row.Link, "0"); err != nil {
					return err
				}
			}
			return about(fence.Delete(s.conn, index), "fence %s", row.Link)
		})
	})
}
