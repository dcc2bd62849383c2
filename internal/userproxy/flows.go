package userproxy

import (
	"container/list"
	"net/netip"
	"sync"

	"github.com/linkspan/linkspan/internal/limits"
)

// flows are the UDP clients of a proxy. An address with many clients, which are its
// ports, makes room before one with few.
type flows struct {
	share limits.Share

	mu     sync.Mutex
	closed bool
	of     map[flowKey]*list.Element // of *flow
	by     map[netip.Addr]*list.List // by the client's address, the longest idle first
}

func newFlows(all *limits.Pool, most int64) flows {
	return flows{
		share: limits.Share{Pool: all, Max: most}, of: map[flowKey]*list.Element{}, by: map[netip.Addr]*list.List{},
	}
}

// get returns the flow of a client that has just sent something, or nil.
func (t *flows) get(key flowKey) *flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.of[key]
	if e == nil {
		return nil
	}
	t.by[key.client.Addr()].MoveToBack(e)
	return e.Value.(*flow)
}

// put adds a flow, for which another may have to go. It returns false if there is
// none that could, and once the table is closed.
func (t *flows) put(f *flow) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.of[f.flowKey] != nil {
		return false
	}
	client := f.client.Addr()
	if !t.share.Enter() {
		crowded := t.mostLocked(client)
		if crowded == nil {
			return false
		}
		t.removeLocked(crowded.Front())
		if !t.share.Enter() {
			return false
		}
	}
	if t.by[client] == nil {
		t.by[client] = list.New()
	}
	t.of[f.flowKey] = t.by[client].PushBack(f)
	return true
}

// mostLocked returns the clients of the address that has most of them: that of the
// newcomer itself if no other has more, else the one that has been idle for longest.
func (t *flows) mostLocked(newcomer netip.Addr) *list.List {
	most := t.by[newcomer]
	for _, p := range t.by {
		if most == nil || p.Len() > most.Len() ||
			p.Len() == most.Len() && most != t.by[newcomer] && oldest(p).idle() > oldest(most).idle() {
			most = p
		}
	}
	return most
}

func oldest(p *list.List) *flow { return p.Front().Value.(*flow) }

// drop takes out a flow that ends.
func (t *flows) drop(f *flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.of[f.flowKey]; e != nil && e.Value == f {
		t.removeLocked(e)
	} else {
		_ = f.upstream.Close() // if it is not yet
	}
}

// removeLocked ends a flow; its goroutine notices.
func (t *flows) removeLocked(e *list.Element) {
	f := e.Value.(*flow)
	client := f.client.Addr()
	p := t.by[client]
	p.Remove(e)
	if p.Len() == 0 {
		delete(t.by, client)
	}
	delete(t.of, f.flowKey)
	_ = f.upstream.Close() // datagrams have no end that could get lost
	t.share.Leave()
}

// all returns every flow.
func (t *flows) all() []*flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*flow, 0, len(t.of))
	for _, e := range t.of {
		out = append(out, e.Value.(*flow))
	}
	return out
}

// close ends every flow and lets no more in.
func (t *flows) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, e := range t.of {
		t.removeLocked(e)
	}
}
