package nft

import (
	"github.com/linkspan/linkspan/internal/desired"
)

// membership knows what follows from several rows together.
//
// Which ports belong to networks whose containers may not talk to one another:
// the network's row says the one thing and the port's the other, so somebody has
// to remember. Kernels without nft_meta_bridge cannot look up the bridge of a
// port while a packet passes, and nft 1.0.6 aborts on rules that chain a map and
// a set to the same end.
//
// Which addresses are at home on a bridge: an address stays there until the last
// port that has it is gone.
//
// And which names are in use (port_security.go), as long as anybody has them.
type membership struct {
	quiet map[string]bool             // bridges
	ports map[string]map[string]bool  // by bridge
	homes map[element]map[string]bool // ports and others, by the element that they share
	names map[string]int              // of ports; how many rows each has
}

func newMembership() *membership {
	return &membership{quiet: map[string]bool{}, ports: map[string]map[string]bool{}, homes: map[element]map[string]bool{}, names: map[string]int{}}
}

// derived is an element that follows from more than one row.
type derived struct {
	element
	bridge, port string // whose silence it stands for; empty for others
}

func silence(bridge, port string) derived {
	return derived{element{set: setNoICC, key: string(ifname(port))}, bridge, port}
}

// has tells whether there is a port of that name.
func (m *membership) has(port string) bool { return m.names[port] > 0 }

// homesOf are the elements that the port shares with others of its addresses.
func homesOf(r desired.PortSecurity) []element {
	out := knownBy(r)
	for _, a := range r.Addrs {
		a = a.Unmap()
		if a.IsLinkLocalUnicast() && a.Is6() {
			continue // nothing is translated to it
		}
		out = append(out, element{set: pick(a, setHome4, setHome6), key: string(ifname(r.Bridge)) + addrKey(a)})
	}
	return out
}

// follow takes in deltas and returns the elements that they change.
func (m *membership) follow(deltas []desired.Delta) []change {
	before := map[derived]bool{}
	cause := map[derived]int{}
	var touched []derived
	touch := func(delta int, d derived) {
		if _, known := cause[d]; !known {
			touched = append(touched, d)
			before[d] = m.wants(d)
			cause[d] = delta
		}
	}
	for i, d := range deltas {
		for _, row := range []desired.Row{d.Old, d.New} {
			switch r := row.(type) {
			case desired.PortSecurity:
				touch(i, silence(r.Bridge, r.Port))
				for _, e := range homesOf(r) {
					touch(i, derived{element: e})
				}
			case desired.Identity:
				for _, e := range knownOf(r) {
					touch(i, derived{element: e})
				}
			case desired.Elsewhere:
				for _, e := range abroadOf(r) {
					touch(i, derived{element: e})
				}
			case desired.BridgePolicy:
				if !r.ICC || m.quiet[r.Bridge] {
					for name := range m.ports[r.Bridge] {
						touch(i, silence(r.Bridge, name))
					}
				}
			}
		}
		m.take(d)
	}
	var out []change
	for _, d := range touched {
		if now := m.wants(d); now != before[d] {
			out = append(out, change{d.element, now, cause[d]})
		}
	}
	return out
}

func (m *membership) wants(d derived) bool {
	if d.set == setNoICC {
		return m.quiet[d.bridge] && m.ports[d.bridge][d.port]
	}
	return len(m.homes[d.element]) > 0
}

// take remembers the rows of one delta.
func (m *membership) take(d desired.Delta) {
	m.put(d.Old, false)
	m.put(d.New, true)
}

func (m *membership) put(row desired.Row, there bool) {
	switch r := row.(type) {
	case desired.BridgePolicy:
		if there && !r.ICC {
			m.quiet[r.Bridge] = true
		} else {
			delete(m.quiet, r.Bridge)
		}
	case desired.Identity:
		for _, e := range knownOf(r) {
			enter(m.homes, e, "identity of "+r.Bridge, there)
		}
	case desired.Elsewhere:
		for _, e := range abroadOf(r) {
			enter(m.homes, e, "elsewhere of "+r.Port, there)
		}
	case desired.PortSecurity:
		if m.names[r.Port]++; !there {
			m.names[r.Port] -= 2
		}
		if m.names[r.Port] == 0 {
			delete(m.names, r.Port)
		}
		enter(m.ports, r.Bridge, r.Port, there)
		for _, e := range homesOf(r) {
			enter(m.homes, e, r.Port, there)
		}
	}
}

// enter adds a port to those of a key, or takes it away.
func enter[K comparable](to map[K]map[string]bool, key K, port string, there bool) {
	if there {
		if to[key] == nil {
			to[key] = map[string]bool{}
		}
		to[key][port] = true
		return
	}
	if delete(to[key], port); len(to[key]) == 0 {
		delete(to, key)
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
			out[silence(bridge, port).element] = true
		}
	}
	for e := range m.homes {
		out[e] = true
	}
	return out
}
