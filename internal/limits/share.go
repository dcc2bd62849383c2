package limits

import (
	"sync"
	"sync/atomic"
)

// Pool is places that many use. Half of them are for those only who have fewer than
// Least. It must not be copied once it is in use.
type Pool struct {
	Max, Least int64
	Limit      func() int64 // at most so many now, if fewer than Max; nil: always Max

	inside atomic.Int64
	door   sync.Mutex // held to enter, not to leave
}

// Inside returns how many places are taken.
func (p *Pool) Inside() int64 { return p.inside.Load() }

// size returns how many places there are now.
func (p *Pool) size() int64 {
	if p.Limit == nil {
		return p.Max
	}
	return min(p.Max, p.Limit())
}

// Share is what one user takes of a pool: up to Max places, and of the half that is
// for all never more than are left there (dynamic thresholds, as in the buffers of
// switches: Choudhury and Hahne, 1998). So whatever others take, one who has little
// gets a place. Nobody is made to wait, and nobody need count users.
type Share struct {
	Pool *Pool
	Max  int64

	inside atomic.Int64
}

// Inside returns how many places it has.
func (s *Share) Inside() int64 { return s.inside.Load() }

// Enter takes a place, if there is one for this user.
func (s *Share) Enter() bool {
	p := s.Pool
	p.door.Lock()
	defer p.door.Unlock()
	if s.roomLocked() <= 0 {
		return false
	}
	s.inside.Add(1)
	p.inside.Add(1)
	return true
}

// EnterReserve takes a place beyond what Enter gives, as long as a quarter of all is
// left: of the half that is kept for those who have little.
func (s *Share) EnterReserve() bool {
	p := s.Pool
	p.door.Lock()
	defer p.door.Unlock()
	if s.inside.Load() >= s.Max || p.inside.Load() >= p.size()*3/4 {
		return false
	}
	s.inside.Add(1)
	p.inside.Add(1)
	return true
}

// Leave gives a place back.
func (s *Share) Leave() {
	s.Pool.inside.Add(-1)
	s.inside.Add(-1)
}

// Room returns how many places more the user would get now.
func (s *Share) Room() int64 {
	s.Pool.door.Lock()
	defer s.Pool.door.Unlock()
	return s.roomLocked()
}

// roomLocked counts the places that the user may have of the half for all, or that
// it lacks of those that everybody may have.
func (s *Share) roomLocked() int64 {
	p := s.Pool
	mine, all, most := s.inside.Load(), p.inside.Load(), p.size()
	own := min(min(p.Least, s.Max)-mine, most-all)
	return max(min(s.Max, most/2-all)-mine, own)
}
