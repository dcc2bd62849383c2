package kernel

import (
	"github.com/linkspan/linkspan/internal/desired"
)

// announcements makes desired.Announce so. They leave nothing in the kernel: they are begun
// with their row and ended with it, beside the pass.
type announcements struct{ *pass }

func handleAnnouncements(p *pass) handler {
	h := announcements{p}
	return handler{name: "announcements", put: h.put, drop: h.drop}
}

func (h announcements) put(g group) {
	for _, d := range g.deltas {
		h.try(d, func() error {
			h.k.announcer.Put(d.New.(desired.Announce))
			return nil
		})
	}
}

func (h announcements) drop(g group) {
	for _, d := range g.deltas {
		h.k.announcer.Drop(d.Old.(desired.Announce))
	}
}

// follow takes up the announcements of a daemon that was here before, and ends
// those of rows that are no more.
func (h announcements) follow(want desired.State) {
	var rows []desired.Announce
	for o := range want.Kind(desired.KindAnnounce) {
		rows = append(rows, o.Row.(desired.Announce))
	}
	h.k.announcer.Follow(rows)
}
