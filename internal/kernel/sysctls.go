package kernel

import (
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/part"
	"github.com/linkspan/linkspan/internal/kernel/sysctl"
)

// sysctls makes desired.Sysctl so. A value is never set back.
type sysctls struct{ *pass }

func handleSysctls(p *pass) handler {
	h := sysctls{p}
	return handler{name: "sysctls", find: p.inEach("sysctls", desired.KindSysctl, h.find), put: h.put}
}

func (h sysctls) find(g group) (f found, err error) {
	if len(g.deltas) == 0 {
		return f, nil
	}
	err = h.in(g.space, func(s *space) error {
		return h.k.netns.Enter(h.ctx, s.file, func() error {
			tree := h.k.sysctls.Open()
			defer tree.Close()
			for _, d := range g.deltas {
				row := d.New.(desired.Sysctl)
				f.check(d, tree.Drift(h.path(row), row.Value))
			}
			return nil
		})
	})
	return f, err
}

// put writes the values of one namespace in one visit.
func (h sysctls) put(g group) {
	visit := func(s *space) error {
		return h.k.netns.Enter(h.ctx, s.file, func() error {
			tree := h.k.sysctls.Open()
			defer tree.Close()
			for _, d := range g.deltas {
				h.try(d, func() error { return h.putOne(tree, d.New.(desired.Sysctl)) })
			}
			return nil
		})
	}
	if err := h.in(g.space, visit); err != nil {
		for _, d := range g.deltas {
			h.try(d, func() error { return err })
		}
	}
}

func (h sysctls) putOne(tree *sysctl.Tree, row desired.Sysctl) error {
	wrote, err := tree.Put(h.path(row), row.Value)
	if wrote {
		h.k.writes.Add(1)
	}
	return err
}

// path returns the path of a setting as the container has named its interface.
func (h sysctls) path(row desired.Sysctl) string {
	parts := strings.Split(row.Path, "/")
	if len(parts) != part.InterfaceParts {
		return row.Path
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if name, known := h.names[place{row.Namespace, parts[3]}]; known {
		parts[3] = name
	}
	return strings.Join(parts, "/")
}
