package resolver

import (
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	m := meter{rate: 100, burst: 20}
	now := time.Unix(1000, 0)
	passed := func(tries int) (n int) {
		for range tries {
			if m.pass(now) {
				n++
			}
		}
		return n
	}
	if n := passed(50); n != 20 {
		t.Errorf("%d at once", n)
	}
	total := 0
	for range 1000 {
		now = now.Add(time.Millisecond)
		total += passed(5)
	}
	if total != 100 {
		t.Errorf("%d in a second", total)
	}
	now = now.Add(time.Hour)
	if n := passed(50); n != 20 {
		t.Errorf("%d at once after a pause", n)
	}
}

func TestGate(t *testing.T) {
	g := gate{max: 2}
	for i, want := range []bool{true, true, false} {
		if g.enter() != want {
			t.Errorf("entrant %d: %t, want two at a time", i+1, !want)
		}
	}
	g.leave()
	for i, want := range []bool{true, false} {
		if g.enter() != want {
			t.Errorf("after one left, entrant %d: %t", i+1, !want)
		}
	}
}
