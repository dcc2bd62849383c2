package desired

import "slices"

// Bridges are the names of the bridges of our networks: those with a BridgePolicy.
type Bridges map[string]bool

// Follow takes in what becomes of bridges, and returns those that are new and those that
// are gone, sorted. Its cost depends on the deltas alone.
func (b Bridges) Follow(deltas []Delta) (added, removed []string) {
	before := map[string]bool{} // of those that deltas are about
	for _, d := range deltas {
		if old, ok := d.Old.(BridgePolicy); ok {
			before[old.Bridge] = b[old.Bridge]
		}
		if now, ok := d.New.(BridgePolicy); ok {
			before[now.Bridge] = b[now.Bridge]
		}
	}
	for _, d := range deltas {
		if old, ok := d.Old.(BridgePolicy); ok {
			delete(b, old.Bridge)
		}
	}
	for _, d := range deltas {
		if now, ok := d.New.(BridgePolicy); ok {
			b[now.Bridge] = true
		}
	}
	for name, was := range before {
		switch {
		case b[name] && !was:
			added = append(added, name)
		case !b[name] && was:
			removed = append(removed, name)
		}
	}
	slices.Sort(added)
	slices.Sort(removed)
	return added, removed
}
