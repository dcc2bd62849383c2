package watch

import (
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/kernel/sysctl"
)

// DefaultForwardingGrace is for how long a host whose forwarding somebody has switched
// off as a whole is left so. That switch is not the engine's alone: whoever applies all
// settings of a host (sysctl --system, a network manager) may be about to write it again,
// and an administrator who closes the host in haste is not fought within the second. It
// is named at once.
const DefaultForwardingGrace = 10 * time.Second

// The switches of the host as a whole (kernel: ip-sysctl). The kernel switches those of
// all interfaces with them.
const (
	forward4 = "net/ipv4/ip_forward"
	forward6 = "net/ipv6/conf/all/forwarding"
)

// forwarding is what is known of the host's switches that are off.
type forwarding struct {
	off map[string]time.Time // by path, since when
}

// switchOf returns the host's switch that a setting goes with; empty if with none.
func switchOf(path string) string {
	switch {
	case path == forward4 || strings.HasPrefix(path, "net/ipv4/conf/") && strings.HasSuffix(path, "/forwarding"):
		return forward4
	case strings.HasPrefix(path, "net/ipv6/conf/") && strings.HasSuffix(path, "/forwarding"):
		return forward6
	}
	return ""
}

// note notes whether the setting is as wanted, if it is a switch of the host, and whether
// it has just been switched off.
func (f *forwarding) note(s setting, is string, now time.Time) (switched bool) {
	if s.path != forward4 && s.path != forward6 {
		return false
	}
	_, known := f.off[s.path]
	switch {
	case sysctl.Same(is, s.value):
		delete(f.off, s.path)
	case !known:
		f.off[s.path] = now
	}
	return !known && !sysctl.Same(is, s.value)
}

// waits tells whether what is wrong with a setting is left for a while, because the host's
// switch is off.
func (f *forwarding) waits(path string, now time.Time, grace time.Duration) bool {
	since, off := f.off[switchOf(path)]
	return off && now.Sub(since) < grace
}
