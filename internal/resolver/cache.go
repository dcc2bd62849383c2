package resolver

import (
	"container/list"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/resolver/message"
)

// Bounds of the cache.
const (
	cacheShards = 16
	cacheSize   = 16 << 20 // bytes, all shards together
	// itemCost is what an entry takes beside its bytes, roughly.
	itemCost = 256
)

// Rules for answers whose time is over (RFC 8767 section 5).
const (
	staleFor   = 24 * time.Hour          // how long they may stand in
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

// entry is an answer in the cache, or the memory that there was none.
type entry struct {
	*message.Answer
	retry atomic.Int64 // on the clock of forwarder.elapsed; until then it is not asked for anew
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
	key   string
	entry entry
	cost  int
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
func (c *cache) get(key []byte, now time.Time) *entry {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.items[string(key)]
	if !ok {
		return nil
	}
	it := e.Value.(*item)
	if now.Sub(it.entry.Stored) > it.entry.Life+staleFor {
		s.removeLocked(e)
		return nil
	}
	s.used.MoveToFront(e)
	return &it.entry
}

// put keeps an answer in place of the one under key. One that may not be kept
// leaves the other alone.
func (c *cache) put(key string, a *message.Answer) {
	if a.Life == 0 {
		return
	}
	s := c.shard([]byte(key))
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.items[key]; ok {
		s.removeLocked(e)
	}
	it := &item{key: key, entry: entry{Answer: a}, cost: itemCost + len(key) + a.Size()}
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
func cacheKey(buf []byte, src *source, q *message.Query) []byte {
	flags := byte(q.Flags & (message.FlagAD | message.FlagCD))
	if q.Flags&message.FlagRD != 0 {
		flags |= 1
	}
	if q.DO {
		flags |= 2
	}
	buf = append(append(buf[:0], src.key...), flags)
	return message.AppendFolded(buf, q.Question)
}
