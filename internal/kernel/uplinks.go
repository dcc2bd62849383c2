package kernel

import (
	"errors"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/uplink"
)

// uplinks makes desired.Uplink so.
type uplinks struct{ *pass }

func handleUplinks(p *pass) handler {
	h := uplinks{p}
	return handler{name: "uplinks", find: p.inEach("uplinks", desired.KindUplink, h.find), put: h.put, drop: h.drop}
}

func (h uplinks) find(g group) (f found, err error) {
	if g.space != desired.HostNamespace {
		return f, nil
	}
	for _, d := range g.deltas {
		why, err := uplink.Drift(h.k.host, d.New.(desired.Uplink))
		if err != nil {
			return f, err
		}
		f.check(d, why)
	}
	strays, err := uplink.Strays(h.k.host, h.k.instance, g.deltas)
	for _, row := range strays {
		f.stray(desired.HostOwner, row)
	}
	return f, err
}

// put goes on at a resync, as after a boot, without an interface: when it comes, the watch tells.
func (h uplinks) put(g group) {
	h.each(g, func(_ *space, d desired.Delta) error {
		err := uplink.Put(h.k.host, h.k.instance, d.New.(desired.Uplink))
		if h.repair && h.scope == ofAll && errors.Is(err, uplink.ErrGone) {
			h.k.log.Warn("a network's uplink is not there: it follows when it comes", "op", "uplink.put", "err", err)
			return nil
		}
		return err
	})
}

func (h uplinks) drop(g group) {
	h.eachGone(g, func(_ *space, d desired.Delta) error {
		return uplink.GiveBack(h.k.host, h.k.instance, d.Old.(desired.Uplink).Link)
	})
}
