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

func TestShares(t *testing.T) {
	all := pool{max: 200, least: 5}
	fill := func(s *share) (n int) {
		for s.enter() {
			n++
		}
		return n
	}
	var greedy []*share
	for i, want := range []int{30, 30, 20, 10, 5, 5, 5, 5} {
		s := &share{pool: &all, max: 30}
		greedy = append(greedy, s)
		if n := fill(s); n != want {
			t.Errorf("greedy one %d: %d places, want %d", i+1, n, want)
		}
	}
	for range 15 {
		greedy = append(greedy, &share{pool: &all, max: 30})
		fill(greedy[len(greedy)-1])
	}
	inside := all.inside.Load()
	quiet := share{pool: &all, max: 30}
	if n := fill(&quiet); n != int(all.least) {
		t.Errorf("beside %d with %d places, one who has none gets %d", len(greedy), inside, n)
	}
	for len(greedy) < 100 {
		greedy = append(greedy, &share{pool: &all, max: 30})
		fill(greedy[len(greedy)-1])
	}
	if n := all.inside.Load(); n != all.max {
		t.Errorf("%d places are taken in the end", n)
	}
	for _, s := range append(greedy, &quiet) {
		for s.inside.Load() > 0 {
			s.leave()
		}
	}
	if n := all.inside.Load(); n != 0 {
		t.Errorf("%d places are taken by nobody", n)
	}
}
