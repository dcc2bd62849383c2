package limits

import (
	"net/netip"
	"sync"
)

// leastOfClient is how many places of a crowd a client can have while others have
// taken all that the crowd may, as long as the pool has a reserve.
const leastOfClient = 8

// Crowd is a share that clients divide among themselves: none has more than is left
// for others, in this share and by it in the pool. So one client that takes all it can
// get leaves room for another that comes later, as one share does for another.
type Crowd struct {
	Share

	mu sync.Mutex
	of map[netip.Addr]int64 // places taken; clients without one are not in it
}

// Admit takes a place for a client, if there is one. Who was admitted must be
// dismissed.
func (c *Crowd) Admit(client netip.Addr) bool {
	client = client.WithZone("")
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := c.of[client]
	if (mine >= c.Room() || !c.Enter()) && (mine >= leastOfClient || !c.EnterReserve()) {
		return false
	}
	if c.of == nil {
		c.of = map[netip.Addr]int64{}
	}
	c.of[client]++
	return true
}

// Dismiss gives back the place of a client.
func (c *Crowd) Dismiss(client netip.Addr) {
	client = client.WithZone("")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Leave()
	if c.of[client]--; c.of[client] <= 0 {
		delete(c.of, client)
	}
}
