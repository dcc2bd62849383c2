package watch

import (
	"testing"
	"time"
)

// TestForwardingOfAHost: what goes with the host's switch waits while that is off; the
// same setting is put back at once where somebody changed it alone.
func TestForwardingOfAHost(t *testing.T) {
	const grace = 10 * time.Second
	bridge4, bridge6 := "net/ipv4/conf/br0/forwarding", "net/ipv6/conf/br0/forwarding"
	f := forwarding{off: map[string]time.Time{}}
	began := time.Unix(1000, 0)
	for _, step := range []struct {
		at       time.Duration
		path, is string
		switched bool
		waits    []string
		repaired []string
	}{
		{0, forward4, "1", false, nil, []string{forward4, bridge4, bridge6}},
		{0, bridge4, "0", false, nil, []string{bridge4}},
		{1 * time.Second, forward4, "0", true, []string{forward4, bridge4}, []string{forward6, bridge6, "net/ipv4/conf/br0/route_localnet"}},
		{2 * time.Second, forward4, "0", false, []string{forward4, bridge4}, nil},
		{10999 * time.Millisecond, forward4, "0", false, []string{forward4, bridge4}, nil},
		{11 * time.Second, forward4, "0", false, nil, []string{forward4, bridge4}},
		{12 * time.Second, forward4, "1", false, nil, []string{forward4, bridge4}},
		{13 * time.Second, forward6, "0", true, []string{forward6, bridge6}, []string{forward4, bridge4}},
		{14 * time.Second, forward4, "0", true, []string{forward4, bridge4, bridge6}, nil},
	} {
		now := began.Add(step.at)
		if got := f.note(setting{path: step.path, value: "1"}, step.is, now); got != step.switched {
			t.Errorf("after %v %s is %s: said %t", step.at, step.path, step.is, got)
		}
		for _, path := range step.waits {
			if !f.waits(path, now, grace) {
				t.Errorf("after %v %s is not left alone", step.at, path)
			}
		}
		for _, path := range step.repaired {
			if f.waits(path, now, grace) {
				t.Errorf("after %v %s is not put back", step.at, path)
			}
		}
	}
}
