package limits

import "time"

// Who keeps removing what is ours is not fought without end: what was put right and did
// not last is put right later and later, until it has lasted for a while.
const (
	PauseFirst = 50 * time.Millisecond
	PauseLast  = 30 * time.Second
	// Lasting is how long, at least, what was put right must have lasted for the next
	// loss to be the first again.
	Lasting = time.Second
	// LookShare bounds what looks cost that find nothing: of so many parts of the time one.
	LookShare = 8
	// LookPause is the longest that is waited after such a look.
	LookPause = 500 * time.Millisecond
)

// Pause says when something is looked at again that others change. The zero value is at
// once. It is not safe for concurrent use.
type Pause struct {
	until  time.Time
	length time.Duration // of the pause after the last repair
	mended time.Time     // when that was
}

// Until is when it may be looked at again.
func (p Pause) Until() time.Time { return p.until }

// Length is how long the pause after the last repair is.
func (p Pause) Length() time.Duration { return p.length }

// Lost notes that rows were lost, and put right just now.
func (p *Pause) Lost(now time.Time) {
	if p.mended.IsZero() || now.Sub(p.mended) > max(Lasting, 2*p.length) {
		p.length = 0
	} else {
		p.length = min(max(2*p.length, PauseFirst), PauseLast)
	}
	p.mended, p.until = now, now.Add(p.length)
}

// Whole notes that a look, which took so long, found nothing lost.
func (p *Pause) Whole(now time.Time, took time.Duration) {
	p.until = now.Add(min(LookShare*took, LookPause))
}

// Over tells whether nothing of the pause is left that a later one depends on.
func (p *Pause) Over(now time.Time) bool {
	return now.After(p.until) && now.Sub(p.mended) > max(Lasting, 2*p.length)
}
