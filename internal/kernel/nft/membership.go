package nft

import (
	"github.com/linkspan/linkspan/internal/desired"
)

// membership knows which ports belong to networks whose containers may not talk
// to one another. The network's row says the one thing and the port's the
// other, so somebody has to remember: kernels without nft_meta_bridge cannot
// look up the bridge of a port while a packet passes, and nft 1.0.6 aborts on
// rules that chain a map and a set to the same end.
type membership struct {
	quiet map[string]bool            // bridges
	ports map[string]map[string]bool // by bridge
}

func newMembership() *membership {
	return &membership{quiet: map[string]bool{}, ports: map[string]map[string]bool{}}
}

// follow takes in deltas and returns the elements that they change.
func (m *membership) follow(deltas []desired.Delta) []change {
	type port struct{ bridge, name string }
	before := map[port]bool{}
	cause := map[port]int{}
	var touched []port
	touch := func(delta int, bridge, name string) {
		p := port{bridge, name}
		if _, known := cause[p]; !known {
			touched = append(touched, p)
			before[p] = m.silences(bridge, name)
			cause[p] = delta
		}
	}
	for i, d := range deltas {
		for _, row := range []desired.Row{d.Old, d.New} {
			switch r := row.(type) {
			case desired.Pin:
				touch(i, r.Bridge, r.Port)
			case desired.Isolate:
				if !r.ICC || m.quiet[r.Bridge] {
					for name := range m.ports[r.Bridge] {
						touch(i, r.Bridge, name)
					}
				}
			}
		}
		m.take(d)
	}
	var out []change
	for _, p := range touched {
		if now := m.silences(p.bridge, p.name); now != before[p] {
			out = append(out, change{element{set: setNoICC, key: string(ifname(p.name))}, now, cause[p]})
		}
	}
	return out
}

func (m *membership) silences(bridge, port string) bool {
	return m.quiet[bridge] && m.ports[bridge][port]
}

// take remembers the rows of one delta.
func (m *membership) take(d desired.Delta) {
	m.put(d.Old, false)
	m.put(d.New, true)
}

func (m *membership) put(row desired.Row, there bool) {
	switch r := row.(type) {
	case desired.Isolate:
		if there && !r.ICC {
			m.quiet[r.Bridge] = true
		} else {
			delete(m.quiet, r.Bridge)
		}
	case desired.Pin:
		if there {
			if m.ports[r.Bridge] == nil {
				m.ports[r.Bridge] = map[string]bool{}
			}
			m.ports[r.Bridge][r.Port] = true
			return
		}
		if delete(m.ports[r.Bridge], r.Port); len(m.ports[r.Bridge]) == 0 {
			delete(m.ports, r.Bridge)
		}
	}
}

// forget undoes follow.
func (m *membership) forget(deltas []desired.Delta) {
	for i := range deltas {
		m.take(deltas[len(deltas)-1-i].Invert())
	}
}

// elements returns what everything known comes to.
func (m *membership) elements() map[element]bool {
	out := map[element]bool{}
	for bridge := range m.quiet {
		for port := range m.ports[bridge] {
			out[element{set: setNoICC, key: string(ifname(port))}] = true
		}
	}
	return out
}
