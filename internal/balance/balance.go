// Package balance says which of a service's backends gets which share of its new
// connections: a fixed number of buckets is dealt out among them, and who balances picks a
// bucket for each connection.
//
//	backends ── Buckets ─▶ bucket 0: b, bucket 1: a, bucket 2: b ...
//
// It is pure, and remembers nothing: the same backends are dealt the same buckets.
package balance

import (
	"hash/fnv"
	"strconv"
)

// Numbers of buckets. Which of them a service has follows from how many backends there are,
// so that one more or less seldom changes it.
const (
	Few  = 64
	Many = 1024
	// maxOfFew is how many backends Few buckets serve: each has four at least.
	maxOfFew = Few / 4
)

// Size returns how many buckets that many backends share.
func Size(backends int) int {
	if backends <= maxOfFew {
		return Few
	}
	return Many
}

// Buckets returns for each of n buckets the index of its backend; nil without backends. It
// is rendezvous hashing (Thaler and Ravishankar, 1998) with bounded loads: a bucket goes to
// the backend that scores highest for it of those that have room. So the shares of two
// backends differ by one bucket at most, and most buckets stay where they are when a backend
// comes or goes.
//
// Backends must differ; their order means nothing but what an index stands for. Who has another salt deals
// otherwise. Of more backends than buckets some get none.
func Buckets(salt string, backends []string, n int) []int {
	if len(backends) == 0 {
		return nil
	}
	hashes := make([]uint64, len(backends))
	for i, b := range backends {
		hashes[i] = hash(salt, b)
	}
	share, rest := n/len(backends), n%len(backends) // so many have one bucket more
	load, out := make([]int, len(backends)), make([]int, n)
	for bucket := range out {
		best, top := -1, uint64(0)
		for i, h := range hashes {
			if load[i] > share || load[i] == share && rest == 0 {
				continue
			}
			if score := mix(h ^ mix(uint64(bucket))); best < 0 || score > top {
				best, top = i, score
			}
		}
		if load[best] == share {
			rest--
		}
		out[bucket], load[best] = best, load[best]+1
	}
	return out
}

func hash(salt, backend string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(strconv.Itoa(len(salt)) + salt + backend)) // it does not fail
	return h.Sum64()
}

// mix spreads what differs in few bits over all of them (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
