package forward

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

// internals are the bridges of internal networks, by the keys of their rows. What comes
// by one of them is not served: such a network has no way out, and a forwarder must not
// be one. The kernel has rules that drop it before; this is for when they are gone.
type internals map[desired.Key]desired.Isolate

// isolate takes note of the Isolate rows among deltas.
func (s *Server) isolate(deltas []desired.Delta) {
	next := maps.Clone(*s.internals.Load())
	for _, d := range deltas {
		if row, ok := d.New.(desired.Isolate); ok && row.Internal {
			next[row.Key()] = row
		} else if row, ok := d.Old.(desired.Isolate); ok {
			delete(next, row.Key())
		}
	}
	s.internals.Store(&next)
}

// isolateAll takes note of exactly those of want, and tells what changed.
func (s *Server) isolateAll(want desired.State, report *desired.Report) {
	drift := s.isolationDrift(want)
	report.Drift = append(report.Drift, drift...)
	report.Writes += len(drift)
	next := internals{}
	for _, row := range isolated(want) {
		next[row.Key()] = row
	}
	s.internals.Store(&next)
}

// isolationDrift says what isolateAll would change.
func (s *Server) isolationDrift(want desired.State) (drift []string) {
	have := maps.Clone(*s.internals.Load())
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

func isolated(want desired.State) (out []desired.Isolate) {
	for o := range want.Kind(desired.KindPolicy) {
		if row, ok := o.Row.(desired.Isolate); ok && row.Internal {
			out = append(out, row)
		}
	}
	return out
}

// fromInternal tells whether something came by an internal network, by the index of
// the interface.
func (s *Server) fromInternal(sock *socket, index uint32) bool {
	all := *s.internals.Load()
	if len(all) == 0 || index == 0 {
		return false
	}
	_, internal := all[desired.Isolate{Bridge: interfaceName(sock, index)}.Key()]
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
