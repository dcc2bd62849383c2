package userproxy

import (
	"maps"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

// internals are the bridges of internal networks, by the keys of their rows. What comes
// by one of them is not served: such a network has no way out, and a proxy must not
// be one. The kernel has rules that drop it before; this is for when they are gone. The
// zero value has none.
type internals struct {
	now atomic.Pointer[map[desired.Key]desired.BridgePolicy] // never changed in place
}

// rows returns what is known now.
func (i *internals) rows() map[desired.Key]desired.BridgePolicy {
	if now := i.now.Load(); now != nil {
		return *now
	}
	return nil
}

// apply takes note of the Isolate rows among deltas.
func (i *internals) apply(deltas []desired.Delta) {
	next := map[desired.Key]desired.BridgePolicy{}
	maps.Copy(next, i.rows())
	for _, d := range deltas {
		if row, ok := d.New.(desired.BridgePolicy); ok && row.Internal {
			next[row.Key()] = row
		} else if row, ok := d.Old.(desired.BridgePolicy); ok {
			delete(next, row.Key())
		}
	}
	i.now.Store(&next)
}

// resync takes note of exactly those of want, and tells what changed.
func (i *internals) resync(want desired.State, report *desired.Report) {
	drift := i.drift(want)
	report.Drift = append(report.Drift, drift...)
	report.Writes += len(drift)
	next := map[desired.Key]desired.BridgePolicy{}
	for _, row := range isolated(want) {
		next[row.Key()] = row
	}
	i.now.Store(&next)
}

// drift says what resync would change.
func (i *internals) drift(want desired.State) (drift []string) {
	have := maps.Clone(i.rows())
	for _, row := range isolated(want) {
		if have[row.Key()] != row {
			drift = append(drift, missing+row.String())
		}
		delete(have, row.Key())
	}
	var strays []string
	for _, row := range have {
		strays = append(strays, leftOver+row.String())
	}
	slices.Sort(strays)
	return append(drift, strays...)
}

func isolated(want desired.State) (out []desired.BridgePolicy) {
	for o := range want.Kind(desired.KindPolicy) {
		if row, ok := o.Row.(desired.BridgePolicy); ok && row.Internal {
			out = append(out, row)
		}
	}
	return out
}

// have tells whether something came by an internal network, by the index of the
// interface.
func (i *internals) have(sock *socket, index uint32) bool {
	all := i.rows()
	if len(all) == 0 || index == 0 {
		return false
	}
	_, internal := all[desired.BridgePolicy{Bridge: interfaceName(sock, index)}.Key()]
	return internal
}

// cameBy returns the index of the interface by which an accepted connection came; 0 for
// IPv4. The kernel notes it as the one for multicasts (tcp_v6_syn_recv_sock).
func cameBy(fd int) uint32 {
	index, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF)
	if err != nil {
		return 0
	}
	return uint32(index)
}
