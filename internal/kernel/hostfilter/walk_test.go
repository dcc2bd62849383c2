package hostfilter

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
)

// walk is a host on which an administrator and an engine take turns.
type walk struct {
	*bench
	suffix, path string
	random       *rand.Rand
	bridges      map[string]bool
	done         []string
}

// foreign is what iptables has that is not ours: it is the same before and after
// whatever we do.
func (w *walk) foreign() []string {
	lines := strings.Split(w.sh("iptables"+w.suffix+" -S"), "\n")
	return slices.DeleteFunc(lines, func(l string) bool {
		ours := []string{"", "-N DOCKER-USER", "-N LINKSPAN-FORWARD", "-A FORWARD -j DOCKER-USER", "-A FORWARD -j LINKSPAN-FORWARD", "-P FORWARD ACCEPT"}
		return slices.Contains(ours, l) || strings.HasPrefix(l, "-A LINKSPAN-FORWARD ")
	})
}

// administrator does one thing, which may fail.
func (w *walk) administrator() {
	rule := func() string {
		return []string{
			"-i eth0 -s 192.0.2.0/24 -j DROP", "-j RETURN", "-i virbr0 -j ACCEPT", "-p tcp --dport 80 -j REJECT",
			"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-j LOG --log-prefix \"x -j DOCKER-USER\"",
			"-i eth1 -j DOCKER-USER", "-m comment --comment LINKSPAN-FORWARD -j LINKSPAN-FORWARD", "-o br-1 -j LINKSPAN-FORWARD",
		}[w.random.IntN(9)]
	}
	chain := func() string { return []string{"FORWARD", "DOCKER-USER"}[w.random.IntN(2)] }
	do := []func() string{
		func() string { return "-I " + chain() + " " + rule() },
		func() string { return "-A " + chain() + " " + rule() },
		func() string { return "-P FORWARD DROP" },
		func() string { return "-D FORWARD 1" },
		func() string { return "-D FORWARD -j DOCKER-USER" },
		func() string { return "-A FORWARD -j LINKSPAN-FORWARD" },
		func() string { return "-D LINKSPAN-FORWARD 1" },
		func() string { return "-I LINKSPAN-FORWARD " + "-i eth0 -j DROP" },
		func() string { return "-F LINKSPAN-FORWARD" },
		func() string { return "-F FORWARD" },
		func() string { return "-F" },
		func() string { return "-X" },
		func() string { return "-N SOMEBODYS" },
	}[w.random.IntN(13)]()
	w.done = append(w.done, "iptables "+do)
	w.host.Do(w.T, func() { _ = exec.Command("sh", "-c", "iptables"+w.suffix+" "+do).Run() })
}

// engine does one thing, and what is not its own stays.
func (w *walk) engine() {
	before := w.foreign()
	bridge := fmt.Sprintf("br-%d", w.random.IntN(4))
	row := desired.BridgePolicy{Bridge: bridge}
	delta := desired.Delta{New: row}
	if w.bridges[bridge] {
		delta = desired.Delta{Old: row}
	}
	what := w.random.IntN(4)
	switch what {
	case 0, 1:
		w.done = append(w.done, fmt.Sprintf("%v -> %v", delta.Old, delta.New))
		if err := w.Apply(w.Context(), []desired.Delta{delta}); err != nil {
			w.Error(err)
		}
		w.beside.Wait()
		w.bridges[bridge] = delta.New != nil
	case 2:
		w.done = append(w.done, "restart")
		w.restart(w.path)
	}
	if what >= 2 {
		w.done = append(w.done, "resync")
		w.settle()
	}
	if after := w.foreign(); !slices.Equal(before, after) {
		w.Fatalf("%s\nnot ours:\n%s\nbecame:\n%s", strings.Join(w.done, "\n"), strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

// settle resyncs, after which everything is as it should be and stays so.
func (w *walk) settle() {
	var rows []desired.Row
	for name, there := range w.bridges {
		if there {
			rows = append(rows, desired.BridgePolicy{Bridge: name})
		}
	}
	if _, err := w.Resync(w.Context(), rows); err != nil {
		w.Fatal(err)
	}
	again, err := w.Resync(w.Context(), rows)
	if err != nil || again.Writes > 0 || len(again.Drift) > 0 {
		w.Fatalf("%s\na second resync: %+v, %v", strings.Join(w.done, "\n"), again, err)
	}
	for _, y := range w.families {
		if y.said != "" {
			w.Fatalf("%s\nsaid: %s", strings.Join(w.done, "\n"), y.said)
		}
	}
	rules := strings.Split(w.sh("iptables"+w.suffix+" -S FORWARD"), "\n")
	user, own := slices.Index(rules, "-A FORWARD -j DOCKER-USER"), slices.Index(rules, "-A FORWARD -j LINKSPAN-FORWARD")
	if user < 0 || own < user || strings.Count(w.sh("iptables"+w.suffix+" -S LINKSPAN-FORWARD"), "-A ") != 2*len(rows) {
		w.Fatalf("%s\nleads to\n%s\n%s", strings.Join(w.done, "\n"), strings.Join(rules, "\n"), w.sh("iptables"+w.suffix+" -S LINKSPAN-FORWARD"))
	}
}

// TestWalks: whatever order things come in, what is the administrator's stays and what is
// ours comes back.
func TestWalks(t *testing.T) {
	everyKind(t, func(t *testing.T, b *bench, suffix, path string) {
		for seed := range uint64(8) {
			b.sh("iptables" + suffix + " -P FORWARD ACCEPT; iptables" + suffix + " -F; iptables" + suffix + " -X")
			w := &walk{bench: b, suffix: suffix, path: path, random: rand.New(rand.NewPCG(seed, 12)), bridges: map[string]bool{}}
			w.restart(path)
			w.settle()
			for range 25 {
				if w.random.IntN(2) == 0 {
					w.administrator()
				} else {
					w.engine()
				}
			}
			w.done = append(w.done, "resync")
			w.settle()
		}
	})
}
