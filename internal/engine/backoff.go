package engine

import "time"

// Who keeps removing what is ours is not fought without end: what was put right and did
// not last is put right later and later, until it has lasted for a while.
const (
	pauseFirst = 50 * time.Millisecond
	pauseLast  = 30 * time.Second
	// lasting is how long, at least, what was put right must have lasted for the next
	// loss to be the first again.
	lasting = time.Second
	// lookShare bounds what looks cost that find nothing: of so many parts of the time one.
	lookShare = 8
	// crowdShare is the same for the rows of all endpoints together.
	crowdShare = 4
)

// pause says when rows are looked at again. The zero value is at once.
type pause struct {
	until  time.Time
	length time.Duration // of the pause after the last repair
	mended time.Time     // when that was
}

// lost notes that rows were lost, and put right just now.
func (p *pause) lost(now time.Time) {
	if p.mended.IsZero() || now.Sub(p.mended) > max(lasting, 2*p.length) {
		p.length = 0
	} else {
		p.length = min(max(2*p.length, pauseFirst), pauseLast)
	}
	p.mended, p.until = now, now.Add(p.length)
}

// whole notes that a look, which took so long, found nothing lost.
func (p *pause) whole(now time.Time, took time.Duration) { p.until = now.Add(lookShare * took) }

// over tells whether nothing of the pause is left that a later one depends on.
func (p *pause) over(now time.Time) bool {
	return now.After(p.until) && now.Sub(p.mended) > max(lasting, 2*p.length)
}
