package desired

import (
	"slices"
	"testing"
)

func TestBridgesFollow(t *testing.T) {
	b := Bridges{"br1": true, "br2": true}
	policy := func(name string, icc bool) Row { return BridgePolicy{Bridge: name, ICC: icc} }
	added, removed := b.Follow([]Delta{
		{New: policy("br9", true)}, {New: policy("br3", true)}, // come
		{Old: policy("br1", true)},                                  // goes
		{Old: policy("br2", true), New: policy("br2", false)},       // stays, otherwise than before
		{Old: policy("br8", true)},                                  // was not known
		{New: Masquerade{Bridge: "br7"}}, {Old: Served{}, New: nil}, // are about no bridge
	})
	if !slices.Equal(added, []string{"br3", "br9"}) || !slices.Equal(removed, []string{"br1"}) {
		t.Errorf("added %v, removed %v", added, removed)
	}
	if len(b) != 3 || !b["br2"] || !b["br3"] || !b["br9"] {
		t.Errorf("%v", b)
	}
}
