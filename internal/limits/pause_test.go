package limits

import (
	"testing"
	"time"
)

// TestPause: who deletes what is ours again and again is met later and later, up to a
// bound; and what has lasted for a while is put right at once again.
func TestPause(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var p Pause
	repairs, began := 0, now
	for now.Sub(began) < time.Hour { // lost again the moment that it is there
		if p.until.After(now) {
			now = p.until
		}
		p.Lost(now)
		repairs++
	}
	if repairs < 100 || repairs > 150 {
		t.Errorf("%d repairs in an hour", repairs)
	}
	if p.length != PauseLast || p.Over(now) {
		t.Errorf("at last a pause of %s", p.length)
	}
	now = now.Add(2*PauseLast + time.Millisecond)
	if !p.Over(now) {
		t.Error("the pause is never over")
	}
	p.Lost(now)
	if p.length != 0 || p.until.After(now) {
		t.Errorf("after peace, a pause of %s", p.length)
	}

	// Somebody who waits each time is put right at once each time, and a look that finds
	// nothing is paid for.
	for range 10 {
		now = now.Add(Lasting + time.Millisecond)
		if p.until.After(now) {
			t.Fatal("who comes once a second has to wait")
		}
		p.Lost(now)
	}
	p.Whole(now, time.Millisecond)
	if p.until.Sub(now) != LookShare*time.Millisecond {
		t.Errorf("after a look of a millisecond, %s", p.until.Sub(now))
	}
	if p.Whole(now, time.Second); p.until.Sub(now) != LookPause {
		t.Errorf("after a look of a second, %s", p.until.Sub(now))
	}
}
