package containers

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/containers/dropwatch"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// TestDropHints: who wonders why nothing arrives finds it in the log, once an hour.
func TestDropHints(t *testing.T) {
	b := newBench(t)
	var out bytes.Buffer
	watch := dropwatch.New(dropwatch.Options{Engine: b.engine, Drivers: all.Drivers(), Log: slog.New(slog.NewTextHandler(&out, nil))})
	id := b.run("spoofer", nil)
	other := b.run("other", withNetAdmin)
	port := func(id string) string {
		for name, a := range all.Drivers().ByPort(b.engine.Snapshot()) {
			if a.Sandbox.Container == model.ContainerID(id) {
				return name
			}
		}
		t.Fatal("no port")
		return ""
	}
	source := func(id string, frames uint64) facts.PortDrops {
		return facts.PortDrops{Port: port(id), Kind: facts.DropSource, Packets: frames, Bytes: frames * 60}
	}
	at := time.Now()
	lines := func(what string, want int, drops ...facts.PortDrops) {
		t.Helper()
		out.Reset()
		watch.Tell(at, drops)
		if got := strings.Count(out.String(), "level=WARN"); got != want {
			t.Errorf("%s: %d lines, want %d:\n%s", what, got, want, out.String())
		}
	}
	lines("what an earlier daemon saw", 0, source(id, 5))
	lines("nothing new", 0, source(id, 5))
	lines("more", 1, source(id, 7))
	for _, part := range []string{"container=" + model.Short(id), "name=spoofer", "network=bridge", "kind=source", "frames=2", "--cap-add NET_ADMIN", "com.linkspan.port_security=off"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the line lacks %q: %s", part, out.String())
		}
	}
	at = at.Add(59 * time.Minute)
	lines("within the hour", 0, source(id, 8))
	lines("another container", 1, source(id, 8), source(other, 1))
	if strings.Contains(out.String(), "cap-add") {
		t.Errorf("advice to give what it has: %s", out.String())
	}
	at = at.Add(time.Minute)
	lines("an hour later, nothing new", 0, source(id, 8), source(other, 1))
	lines("an hour later", 1, source(id, 9), source(other, 1))
	at = at.Add(2 * time.Hour)
	lines("after the firewall was written anew", 1, source(id, 3))
	lines("a port that is gone", 0, source(id, 3), facts.PortDrops{Port: "veth0", Kind: facts.DropARP, Packets: 1})
}
