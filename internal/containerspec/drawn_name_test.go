package containerspec

import "testing"

func TestDrawnNamesAreNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range 200 {
		name := DrawName(func(n int) int { return i % n })
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
		seen[name] = true
	}
	if len(seen) < 200 {
		t.Errorf("200 draws gave %d names", len(seen))
	}
}
