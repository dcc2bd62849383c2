package driver

import "testing"

func TestSpread(t *testing.T) {
	seen := map[int]bool{}
	for i := range 100 {
		n := Spread(10, string(rune('a'+i)))
		if n < 0 || n >= 10 || n != Spread(10, string(rune('a'+i))) {
			t.Fatalf("%d is out of range, or not the same again", n)
		}
		seen[n] = true
	}
	if len(seen) != 10 {
		t.Errorf("100 things fall on %d of 10 numbers", len(seen))
	}
}
