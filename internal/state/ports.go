package state

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/model"
)

// PortUse is a stretch of host ports that a sandbox has or claims.
type PortUse struct {
	Sandbox  model.SandboxID
	Protocol model.Protocol
	Addr     netip.Addr
	Ports    model.PortRange
	// Running says that the ports are open now. Otherwise they are a claim, of a
	// sandbox that will want them when it starts.
	Running bool
}

// PortUses yields who has or claims host ports of protocol p within r. What
// spans many ports may come several times. It costs as much as there is in the
// neighbourhood of r, not on the host.
func (s *Snapshot) PortUses(p model.Protocol, r model.PortRange) iter.Seq[PortUse] {
	return func(yield func(PortUse) bool) {
		for page := pageOf(r.First); page <= pageOf(r.Last); page++ {
			stop := false
			s.ports.Root().WalkPrefix(pageKey(p, page), func(_ []byte, u PortUse) bool {
				if !u.Ports.Overlaps(r) {
					return false
				}
				sb, _ := s.Sandbox(u.Sandbox)
				if sb.Up && !u.Running {
					return false // it has what it could get
				}
				u.Running = sb.Up
				stop = !yield(u)
				return stop
			})
			if stop {
				return
			}
		}
	}
}

// Uses are indexed by page: a stretch stands in each page that it touches, so
// that one look into a page finds all that overlap.
const pageBits = 8

func pageOf(port uint16) int { return int(port >> pageBits) }

func pageKey(p model.Protocol, page int) []byte {
	return append([]byte(p), 0, byte(page))
}

func (u PortUse) key(page int) []byte {
	k := pageKey(u.Protocol, page)
	k = binary.BigEndian.AppendUint16(k, u.Ports.First)
	k = binary.BigEndian.AppendUint16(k, u.Ports.Last)
	k = append(k, u.Addr.AsSlice()...)
	return append(append(k, 0), u.Sandbox...)
}

// portUses returns what a sandbox has and claims. What it has is said to run
// here; whether it does depends on the sandbox being up.
func portUses(sb model.Sandbox) []PortUse {
	var out []PortUse
	for _, spec := range sb.Publish {
		if !spec.Fixed() {
			continue
		}
		hosts := []netip.Addr{spec.Host}
		if !spec.Host.IsValid() {
			hosts = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		}
		for _, host := range hosts {
			out = append(out, PortUse{sb.ID, spec.Protocol, host, spec.HostPorts, false})
		}
	}
	for _, b := range sb.Ports {
		if b.HostFirst != 0 {
			out = append(out, PortUse{sb.ID, b.Protocol, b.Host, b.HostPorts(), true})
		}
	}
	return out
}

// indexPorts makes the index follow a sandbox that changed. It writes nothing
// where the ports did not change, since there may be thousands.
func (tx *Tx) indexPorts(old, sb model.Sandbox) {
	before, after := portUses(old), portUses(sb)
	if slices.Equal(before, after) {
		return
	}
	t := tx.now.ports.Txn()
	eachPage(before, func(key []byte, _ PortUse) { t.Delete(key) })
	eachPage(after, func(key []byte, u PortUse) { t.Insert(key, u) })
	tx.now.ports = t.Commit()
}

func eachPage(uses []PortUse, do func(key []byte, u PortUse)) {
	for _, u := range uses {
		for page := pageOf(u.Ports.First); page <= pageOf(u.Ports.Last); page++ {
			do(u.key(page), u)
		}
	}
}
