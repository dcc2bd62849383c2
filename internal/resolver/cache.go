package resolver

import (
	"bytes"
	"container/list"
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Bounds of the cache.
const (
	cacheShards = 16
	cacheSize   = 16 << 20 // bytes, all shards together
	// itemCost is what an entry takes beside its bytes, roughly.
	itemCost = 256
	// maxCached is the longest message that is kept, in bytes.
	maxCached = 16 << 10
	// maxSlack is how many bytes behind a message are kept along with it at most. A
	// server may send as much of nothing behind its records as it likes.
	maxSlack = 64
)

// Rules for answers whose time is over (RFC 8767 section 5).
const (
	staleFor   = 24 * time.Hour          // how long they may stand in
	staleTTL   = 30                      // seconds, in such an answer
	staleAfter = 1800 * time.Millisecond // how long a client waits for a fresh one first
	staleRetry = 30 * time.Second        // between attempts to get a fresh one
)

// Rules for questions that nobody could answer (RFC 9520).
const (
	failureSize = 1 << 20 // bytes of the cache for them
	failureTime = time.Second
	// silenceTime is for servers that do not even say no, as long as they do not:
	// asking them takes a place for a long time.
	silenceTime = 5 * time.Second
)

// answer is what a name server said, ready for any client. It is immutable but
// for retry.
type answer struct {
	msg    []byte // ID 0, no OPT
	end    int    // where the question ends
	ttls   []int
	addrs  []int // of outline
	stored time.Time
	life   time.Duration // 0: for those who were waiting for it only
	retry  atomic.Int64  // Unix nanoseconds; until then it is not asked for anew
}

// newAnswer makes an answer of a message. A message with OPT in the middle has
// it taken out by a library: later names may point across the gap.
func newAnswer(msg []byte, end int, o outline, now time.Time) (*answer, error) {
	msg = msg[:o.end]
	if !o.last {
		var m dns.Msg
		if err := m.Unpack(msg); err != nil {
			return nil, err
		}
		m.Compress, m.Extra = true, withoutOPT(m.Extra)
		packed, err := m.Pack()
		if err != nil {
			return nil, err
		}
		again, err := scan(packed, end, binary.BigEndian.Uint16(msg[end-4:]))
		if err != nil {
			return nil, err
		}
		msg, o.ttls, o.addrs = packed, again.ttls, again.addrs
	} else if o.opt[1] > 0 {
		msg = msg[:o.opt[0]]
		extra := msg[10:12]
		binary.BigEndian.PutUint16(extra, binary.BigEndian.Uint16(extra)-1)
	}
	if cap(msg)-len(msg) > maxSlack {
		msg = bytes.Clone(msg)
	}
	msg[0], msg[1] = 0, 0
	a := &answer{msg: msg, end: end, ttls: o.ttls, addrs: o.addrs, stored: now}
	if msg[2]&(bitTC>>8) == 0 && len(msg) <= maxCached {
		a.life = time.Duration(o.life) * time.Second
	}
	return a, nil
}

func withoutOPT(records []dns.RR) []dns.RR {
	var out []dns.RR
	for _, r := range records {
		if r.Header().Rrtype != dns.TypeOPT {
			out = append(out, r)
		}
	}
	return out
}

// age is how old the answer is in seconds, and whether its time is over.
func (a *answer) age(now time.Time) (seconds uint32, stale bool) {
	d := max(now.Sub(a.stored), 0)
	return uint32(d / time.Second), d >= a.life
}

// cache keeps answers by cacheKey, the recently used ones, in bounded memory.
type cache struct {
	seed   maphash.Seed
	shards [cacheShards]shard
}

type shard struct {
	mu    sync.Mutex
	items map[string]*list.Element // of *item
	used  list.List                // the last used first
	bytes int
	limit int
}

type item struct {
	key    string
	answer *answer
	cost   int
}

func newCache(size int) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].items = map[string]*list.Element{}
		c.shards[i].limit = size / cacheShards
	}
	return c
}

func (c *cache) shard(key []byte) *shard {
	return &c.shards[maphash.Bytes(c.seed, key)%cacheShards]
}

// get returns the answer kept under key, be it stale; nil if there is none.
func (c *cache) get(key []byte, now time.Time) *answer {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.items[string(key)]
	if !ok {
		return nil
	}
	it := e.Value.(*item)
	if now.Sub(it.answer.stored) > it.answer.life+staleFor {
		s.removeLocked(e)
		return nil
	}
	s.used.MoveToFront(e)
	return it.answer
}

// put keeps an answer in place of the one under key. One that may not be kept
// leaves the other alone.
func (c *cache) put(key string, a *answer) {
	if a.life == 0 {
		return
	}
	s := c.shard([]byte(key))
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.items[key]; ok {
		s.removeLocked(e)
	}
	it := &item{key, a, itemCost + len(key) + len(a.msg) + 8*(len(a.ttls)+len(a.addrs))}
	s.items[key] = s.used.PushFront(it)
	s.bytes += it.cost
	for s.bytes > s.limit {
		s.removeLocked(s.used.Back())
	}
}

func (s *shard) removeLocked(e *list.Element) {
	it := s.used.Remove(e).(*item)
	delete(s.items, it.key)
	s.bytes -= it.cost
}

// cacheKey is what queries with one answer have in common: whom they are for,
// the flags that change the answer, and the question without regard to case.
func cacheKey(buf []byte, src *source, q *query) []byte {
	flags := byte(q.bits & (bitAD | bitCD))
	if q.bits&bitRD != 0 {
		flags |= 1
	}
	if q.do {
		flags |= 2
	}
	buf = append(append(buf[:0], src.key...), flags)
	return appendFolded(buf, q.question)
}

// appendFolded appends a question in wire form, the name in lower case. The
// lengths of labels can be folded along with the letters: they are at most 63,
// below every letter.
func appendFolded(buf, question []byte) []byte {
	name := len(question) - 4
	for _, c := range question[:name] {
		buf = append(buf, lower(c))
	}
	return append(buf, question[name:]...)
}

// stored is an answer for a client. Its records say for how much longer they
// are good; stale ones are good for staleTTL. If not all fit, there are as many as do:
// clients that cannot ask again over TCP have something at least.
func (w *writer) stored(c *client, a *answer, now time.Time) []byte {
	room := c.limit
	if c.edns {
		room -= optSize
	}
	counts, end := a.fitting(room)
	w.buf = append(append(w.room(), a.msg[:headerSize]...), c.question...)
	w.buf = append(w.buf, a.msg[a.end:end]...)
	binary.BigEndian.PutUint16(w.buf, c.id)
	w.buf[2] = w.buf[2]&^(bitRD>>8) | byte(c.bits&bitRD>>8)
	w.buf[3] |= bitRA
	if end < len(a.msg) {
		w.buf[2] |= bitTC >> 8
		for i, n := range counts {
			binary.BigEndian.PutUint16(w.buf[6+2*i:], n)
		}
	}
	w.age(a, now)
	w.rotate(a)
	return w.finish(c)
}

// fitting is how many records of each section fit into size bytes, and where the
// last one ends. What is cut off leaves the rest whole: names point back only.
func (a *answer) fitting(size int) (counts [3]uint16, end int) {
	if len(a.msg) <= size {
		return counts, len(a.msg)
	}
	at := a.end
	for i := range counts {
		for range binary.BigEndian.Uint16(a.msg[6+2*i:]) {
			r, ok := readRecord(a.msg, at)
			if !ok || r.end > size {
				return counts, at
			}
			at = r.end
			counts[i]++
		}
	}
	return counts, at
}

// age writes what is left of the records' time.
func (w *writer) age(a *answer, now time.Time) {
	age, stale := a.age(now)
	stale = stale && a.life > 0
	for _, at := range a.ttls {
		if at >= len(w.buf) {
			return
		}
		field := w.buf[at : at+4]
		ttl := binary.BigEndian.Uint32(field)
		if stale {
			ttl = min(ttl, staleTTL)
		} else {
			ttl -= min(age, ttl)
		}
		binary.BigEndian.PutUint32(field, ttl)
	}
}

// rotate lets another address be first each time: name servers do that too, and
// an answer that is kept must not send everybody to the same place.
func (w *writer) rotate(a *answer) {
	n := len(a.addrs)
	if n < 2 {
		return
	}
	size := addressSize(binary.BigEndian.Uint16(a.msg[a.end-4:]))
	first := rand.IntN(n)
	for i, at := range a.addrs {
		if at >= len(w.buf) {
			return
		}
		from := a.addrs[(first+i)%n]
		copy(w.buf[at:at+size], a.msg[from:from+size])
	}
}
