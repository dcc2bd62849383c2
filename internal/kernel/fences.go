package kernel

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/fence"
)

// routeLocalnet is the setting that goes with a fence for localhost.
func routeLocalnet(link string) string { return "net/ipv4/conf/" + link + "/route_localnet" }

// findFences says nothing where the kernel cannot do it: that was said once.
func (t *turn) findFences(g group) (f found, err error) {
	if len(g.deltas) == 0 || t.k.unfenced.Load() {
		return f, nil
	}
	err = t.in(g.space, func(s *space) error {
		for _, d := range g.deltas {
			row := d.New.(desired.Fence)
			index, err := t.indexOf(s, row.Link)
			if errors.Is(err, unix.ENODEV) {
				f.check(d, "missing")
				continue
			}
			if err != nil {
				return err
			}
			why, err := fence.Drift(s.conn, index, row)
			if err != nil {
				return err
			}
			if why == "" && row.Localhost {
				why = t.localnetDrift(s, row.Link)
			}
			f.check(d, why)
		}
		return nil
	})
	return f, err
}

func (t *turn) localnetDrift(s *space, link string) (why string) {
	err := t.k.netns.Enter(t.ctx, s.file, func() error {
		tree := t.k.sysctls.Open()
		defer tree.Close()
		if why = tree.Drift(routeLocalnet(link), "1"); why != "" {
			why = "route_localnet " + why
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return why
}

func (t *turn) putFences(g group) {
	t.each(g, func(s *space, d desired.Delta) error {
		row := d.New.(desired.Fence)
		return about(t.putFence(s, row), "fence %s", row.Link)
	})
}

// putFence drops packets first and lets addresses of localhost be routed then; the
// other way round where that is no longer wanted.
func (t *turn) putFence(s *space, row desired.Fence) error {
	index, err := t.indexOf(s, row.Link)
	if err != nil {
		return err
	}
	if !row.Localhost {
		err = t.setLocalnet(s, row.Link, "0")
	}
	if err == nil {
		err = fence.Put(s.conn, index, row)
	}
	switch {
	case errors.Is(err, fence.ErrUnsupported):
		if !t.k.unfenced.Swap(true) {
			t.k.log.Warn("ports published on 127.0.0.1 are not reached there, and internal networks are closed by the firewall alone",
				"op", "fence", "err", err)
		}
		return nil
	case err == nil && row.Localhost:
		return t.setLocalnet(s, row.Link, "1")
	}
	return err
}

// setLocalnet sets route_localnet of a link; one that is gone has none.
func (t *turn) setLocalnet(s *space, link, value string) error {
	return t.k.netns.Enter(t.ctx, s.file, func() error {
		tree := t.k.sysctls.Open()
		defer tree.Close()
		wrote, err := tree.Put(routeLocalnet(link), value)
		if wrote {
			t.k.writes.Add(1)
		}
		if value == "0" && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// dropFences is for bridges that stay, because they were there before.
func (t *turn) dropFences(g group) {
	t.eachGone(g, func(s *space, d desired.Delta) error {
		row := d.Old.(desired.Fence)
		return t.onLink(s, row.Link, func(index int) error {
			if row.Localhost {
				if err := t.setLocalnet(s, row.Link, "0"); err != nil {
					return err
				}
			}
			return about(fence.Delete(s.conn, index), "fence %s", row.Link)
		})
	})
}
