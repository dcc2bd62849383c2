package jsonlog

import (
	"math"
	"time"
)

const (
	// mostFiles is how many files a log is kept in. With more, each rotation renames
	// thousands of files, and a reader would have to open them; the same text is kept in
	// fewer, longer ones.
	mostFiles = 1000
	// paceCredit is how long rotations may take that follow one another at once, and
	// paceShare is the part of the time, one in so many, that they may take for long.
	// A log of sensible files needs a thousandth of that.
	paceCredit = time.Second
	paceShare  = 10
)

// bounded returns the options that a log is kept by: they hold as much text, in no
// more than mostFiles files.
func (o Options) bounded() Options {
	o.MaxFiles = max(o.MaxFiles, 1)
	if o.MaxFiles > mostFiles {
		if times := int64((o.MaxFiles + mostFiles - 1) / mostFiles); o.MaxSize > 0 {
			o.MaxSize = saturated(o.MaxSize, 0, times)
		}
		o.MaxFiles = mostFiles
	}
	return o
}

// saturated returns (size+more)*times, or the largest number there is.
func saturated(size, more, times int64) int64 {
	if size > math.MaxInt64/times-more {
		return math.MaxInt64
	}
	return (size + more) * times
}

// pace bounds the time that is spent on rotation: each costs as many renames as there
// are files, and a container that prints short lines into short files could have nothing
// else done. While it does not allow one, the file gets longer than it should.
type pace struct {
	credit time.Duration
	seen   time.Time
}

func newPace() pace { return pace{credit: paceCredit, seen: time.Now()} }

// allows tells whether there may be a rotation now.
func (p *pace) allows(now time.Time) bool {
	p.credit = min(p.credit+now.Sub(p.seen)/paceShare, paceCredit)
	p.seen = now
	return p.credit > 0
}

// took takes down how long one has taken.
func (p *pace) took(d time.Duration) { p.credit -= d }
