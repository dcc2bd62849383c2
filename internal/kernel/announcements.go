package kernel

import "github.com/linkspan/linkspan/internal/desired"

// Announcements leave nothing in the kernel: they are begun with their row and ended
// with it, beside the turn.

func (t *turn) putAnnounces(g group) {
	for _, d := range g.deltas {
		t.try(d, func() error {
			t.k.announcer.Put(d.New.(desired.Announce))
			return nil
		})
	}
}

func (t *turn) dropAnnounces(g group) {
	for _, d := range g.deltas {
		t.k.announcer.Drop(d.Old.(desired.Announce))
	}
}

// announceAll takes up the announcements of a daemon that was here before, and ends
// those of rows that are no more.
func (t *turn) announceAll(want desired.State) {
	var rows []desired.Announce
	for o := range want.Kind(desired.KindAnnounce) {
		rows = append(rows, o.Row.(desired.Announce))
	}
	t.k.announcer.Follow(rows)
}
