package firewalltest

import (
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

// Isolation sends every trial's frame for real, with br_netfilter off and on.
func Isolation(t *testing.T, backend Backend) {
	for _, guard := range []bool{false, true} {
		for _, bridgeNetfilter := range []bool{false, true} {
			t.Run(fmt.Sprintf("guard=%t,br_netfilter=%t", guard, bridgeNetfilter), func(t *testing.T) {
				l := NewLab(t, bridgeNetfilter)
				backend.Resync(t, l.Host, Rows(guard)...)
				all := trials(guard)
				for id, c := range all {
					all[id] = c.expect(bridgeNetfilter)
					c = all[id]
					l.Send(c.from, c.frame(id))
					if c.arrive {
						frame := l.Arrives(id, c.to)
						checkArrival(t, c, frame)
						checkPort(t, c, frame)
					}
				}
				checkHostSpeaks(t, l, len(all)+100)
				checkNoneLeaked(t, l, all)
			})
		}
	}
}

func checkArrival(t *testing.T, c trial, frame []byte) {
	t.Helper()
	if frame == nil {
		t.Errorf("%s: %s to %s: lost", c.name, c.from, c.to)
		return
	}
	if c.source == "" {
		return
	}
	if got := frames.Source(frame); got.String() != c.source {
		t.Errorf("%s: seen from %v, want %s", c.name, got, c.source)
	}
}

func checkPort(t *testing.T, c trial, frame []byte) {
	t.Helper()
	if frame == nil || c.port == 0 {
		return
	}
	if got := frames.DestinationPort(frame); got != c.port {
		t.Errorf("%s: came to port %d, want %d", c.name, got, c.port)
	}
}

// checkHostSpeaks sends a frame from the host itself: it gets to ports with a
// policy and to those of others, not to one of ours without.
func checkHostSpeaks(t *testing.T, l *Lab, id int) {
	t.Helper()
	l.Send("host", frames.Between(frames.Broadcast, PlaceOf("a1").GatewayMAC(), "10.1.0.1", "10.1.0.99").ARP(1, PlaceOf("a1").GatewayMAC(), id))
	for _, name := range []string{"a1", "a2", "manual"} {
		if l.Arrives(id, name) == nil {
			t.Errorf("the host's broadcast did not get to %s", name)
		}
	}
	if l.Seen(id, "dead") != nil {
		t.Error("the host's broadcast got to a port without policy")
	}
}

// checkNoneLeaked sends one more frame along every way that frames could take,
// which arrives after all that went before, and only then looks for what must
// not have arrived.
func checkNoneLeaked(t *testing.T, l *Lab, all []trial) {
	t.Helper()
	fence := len(all)
	for _, c := range append(append(udpTrials("fence", "a1", "a2", true), udpTrials("fence", "a1", "out", true)...),
		append(udpTrials("fence", "i1", "i2", true), udpTrials("fence", "q1", "out", true)...)...) {
		l.Send(c.from, c.frame(fence))
		checkArrival(t, c, l.Arrives(fence, c.to))
		fence++
	}
	for id, c := range all {
		if !c.arrive && l.Seen(id, c.to) != nil {
			t.Errorf("%s: %s reached %s", c.name, c.from, c.to)
		}
	}
}

// ModelAgrees asks the model about every trial as well.
func ModelAgrees(t *testing.T, backend Backend) {
	for _, wrong := range Disagreements(backend.Model(t, Rows(false)), backend.Model(t, Rows(true))) {
		t.Error(wrong)
	}
}

// Disagreements are the trials of which a model thinks otherwise than expected.
func Disagreements(open, guarded Model) (wrong []string) {
	for guard, tr := range map[bool]tracer{false: {open}, true: {guarded}} {
		for id, c := range trials(guard) {
			for _, bridgeNetfilter := range []bool{false, true} {
				c := c.expect(bridgeNetfilter)
				arrive, masqueraded := tr.trace(c, c.frame(id), bridgeNetfilter)
				if arrive != c.arrive || masqueraded != (c.source != "") {
					wrong = append(wrong, fmt.Sprintf("%s (guard=%t br_netfilter=%t): arrives %t, masqueraded %t",
						c.name, guard, bridgeNetfilter, arrive, masqueraded))
				}
			}
		}
	}
	return wrong
}
