package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// cleanTime is how long what an engine removes off the request path (namespaces, veth pairs) may linger. The kernel has one worker for
// all that end on the machine, other labs' too.
const cleanTime = 15 * time.Second

// pristine is what a host looked like when its engine had just started for the first time.
type pristine struct {
	known   bool
	ruleset []string // nft's lines, without counters
	mounts  []string // mount points
}

// remember notes what the host looks like now, unless that was noted before.
func (h *Host) remember(ctx context.Context) error {
	if h.known {
		return nil
	}
	ruleset, err := h.ruleset(ctx)
	if err != nil {
		return err
	}
	mounts, err := h.mounts(ctx)
	if err != nil {
		return err
	}
	h.pristine = pristine{known: true, ruleset: ruleset, mounts: mounts}
	return nil
}

// CheckClean is for the moment when all containers and all networks that were made since the first Start are removed:
// it reports what the engine left behind on the host. Without an engine it holds of a host nothing was done on.
func (h *Host) CheckClean(ctx context.Context) error {
	err := Until(ctx, cleanTime, func() error {
		return errors.Join(h.noVeth(ctx), h.noNamespaces(ctx), h.noFifos(ctx), h.noExtraRules(ctx), h.noExtraMounts(ctx), h.noContainerCgroups(ctx))
	})
	if err != nil {
		return fmt.Errorf("%s is not clean: %w", h.Name, err)
	}
	return nil
}

// noVeth finds veth pairs other than the host's own uplink.
func (h *Host) noVeth(ctx context.Context) error {
	out, err := h.Run(ctx, "ip", "-o", "link", "show", "type", "veth")
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(lines(out), func(line string) bool { return strings.Contains(line, ": "+uplink+"@") })
	return leftover("veth", left)
}

// noNamespaces finds named network namespaces.
func (h *Host) noNamespaces(ctx context.Context) error {
	out, err := h.Run(ctx, "ls", "-A", "/run/netns")
	if err != nil {
		return err
	}
	return leftover("network namespace", lines(out))
}

// noFifos finds the pipes through which containers' input and output went.
func (h *Host) noFifos(ctx context.Context) error {
	out, err := h.Find(ctx, "/run", h.dir, "-type", "p")
	if err != nil {
		return err
	}
	return leftover("fifo", lines(out))
}

// noExtraRules finds firewall rules and set elements that were not there in the beginning.
func (h *Host) noExtraRules(ctx context.Context) error {
	now, err := h.ruleset(ctx)
	if err != nil {
		return err
	}
	return leftover("firewall line", added(h.pristine.ruleset, now))
}

// noExtraMounts finds mounts that were not there in the beginning.
func (h *Host) noExtraMounts(ctx context.Context) error {
	if !h.known {
		return nil
	}
	now, err := h.mounts(ctx)
	if err != nil {
		return err
	}
	// The folder of named namespaces stays a mount, as iproute2 leaves it: only
	// what is inside must be gone.
	extra := slices.DeleteFunc(added(h.pristine.mounts, now), func(m string) bool { return m == "/run/netns" })
	return leftover("mount", extra)
}

// noContainerCgroups finds cgroups of containers.
func (h *Host) noContainerCgroups(ctx context.Context) error {
	left, err := h.containerCgroups(ctx)
	return errors.Join(err, leftover("cgroup", left))
}

// ruleset is what nft shows of the host's firewall, without counters; of tables that iptables writes, what that shows:
// nft prints the same extension of iptables now so, now otherwise.
func (h *Host) ruleset(ctx context.Context) ([]string, error) {
	out, err := h.Run(ctx, "nft", "--stateless", "list", "ruleset")
	if err != nil {
		return nil, err
	}
	var saved []string
	for family, command := range map[string]string{"ip": "iptables-save", "ip6": "ip6tables-save"} {
		text, err := h.Run(ctx, "sh", "-c", "command -v "+command+" >/dev/null || exit 0; exec "+command)
		if err != nil {
			return nil, err
		}
		saved = append(saved, savedLines(family, lines(text))...)
	}
	return append(withoutSaved(lines(out), saved), saved...), nil
}

// savedLines are the lines of iptables-save(8), each behind its table, without counters and comments: "ip *nat",
// "ip *nat -A DOCKER …".
func savedLines(family string, all []string) (out []string) {
	table := ""
	for _, line := range all {
		switch {
		case strings.HasPrefix(line, "*"):
			table = family + " " + line
			out = append(out, table)
		case strings.HasPrefix(line, ":"):
			chain, _, _ := strings.Cut(line, " [")
			out = append(out, table+" "+chain)
		case strings.HasPrefix(line, "-"):
			out = append(out, table+" "+line)
		}
	}
	return out
}

// withoutSaved leaves the tables out of nft's listing that iptables has shown.
func withoutSaved(listing, saved []string) (out []string) {
	inside := false
	for _, line := range listing {
		if words := strings.Fields(line); strings.HasPrefix(line, "table ") && len(words) > 2 {
			inside = slices.Contains(saved, words[1]+" *"+words[2])
		}
		if !inside {
			out = append(out, line)
		}
		inside = inside && line != "}"
	}
	return out
}

// mounts are the host's mount points, without what lies hidden below its own /run: what the real machine mounts in its
// own arrives there, too, at any time.
func (h *Host) mounts(ctx context.Context) ([]string, error) {
	out, err := h.Run(ctx, "cat", "/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return visible(lines(out)), nil
}

// visible are the mount points in a mountinfo (proc_pid_mountinfo(5)) that no other mount covers: one does that lies on
// the same mount as the point, and nearer to its root.
func visible(mountinfo []string) (points []string) {
	type mount struct{ id, parent, point string }
	var all []mount
	for _, line := range mountinfo {
		if fields := strings.Fields(line); len(fields) > 4 {
			all = append(all, mount{fields[0], fields[1], fields[4]})
		}
	}
	hidden := make(map[string]bool)
	for _, m := range all { // a mount comes after the one it lies on
		hidden[m.id] = hidden[m.parent] || slices.ContainsFunc(all, func(other mount) bool {
			return other.parent == m.parent && strings.HasPrefix(m.point, strings.TrimSuffix(other.point, "/")+"/") && m.point != other.point
		})
		if !hidden[m.id] {
			points = append(points, m.point)
		}
	}
	return points
}

// added are the lines that are in now more often than in before.
func added(before, now []string) []string {
	count := make(map[string]int)
	for _, line := range before {
		count[line]++
	}
	var more []string
	for _, line := range now {
		if count[line]--; count[line] < 0 {
			more = append(more, strings.TrimSpace(line))
		}
	}
	return more
}

// leftover is nil if nothing is left.
func leftover(kind string, left []string) error {
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("left over: %s: %s", kind, strings.Join(left, " | "))
}

// lines are the lines of text that are not empty.
func lines(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return line == "" })
}

// Close ends all machines at once, running containers included, removes the lab's files and the cgroups of its
// containers, and reports what is left over of the lab on the real machine. A second Close does nothing.
func (l *Lab) Close() error {
	if l.dir == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	var problems []error
	var cgroups []string
	for _, h := range l.hosts {
		left, err := h.allCgroups(ctx)
		cgroups, problems = append(cgroups, left...), append(problems, err)
	}
	l.halt()
	// an nsenter that has brought a process in stands with one leg in the lab until it has seen that process end
	left := Until(ctx, cleanTime, l.noProcesses)
	problems = append(problems, removeCgroups(ctx, cgroups), left, l.noMounts(), os.RemoveAll(l.dir))
	l.dir = ""
	return errors.Join(problems...)
}

// halt ends all machines and awaits what this program started on them.
func (l *Lab) halt() {
	for _, m := range l.machines() {
		m.halt()
	}
	for _, h := range l.hosts {
		if h.engine != nil {
			<-h.engine.ended
		}
	}
	if l.world != nil && l.world.dns != nil {
		_ = l.world.dns.Wait() // killed, as was meant
	}
}

// noProcesses finds processes of the real machine that are in a network namespace of the lab.
func (l *Lab) noProcesses() error { return noProcessesOn(l.machines()...) }

// noProcessesOn finds processes of the real machine that are in a network namespace of these.
func noProcessesOn(machines ...*Machine) error {
	found, err := processNamespaces()
	if err != nil {
		return err
	}
	var left []string
	for _, m := range machines {
		for _, pid := range found[m.netns] {
			left = append(left, fmt.Sprintf("process %s on %s", pid, m.Name))
		}
	}
	return leftover("process", left)
}

// processNamespaces maps network namespaces, as "net:[4026532…]", to the processes in them.
func processNamespaces() (map[string][]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	found := make(map[string][]string)
	for _, entry := range entries {
		// what is no process, or has just ended, has no such link
		if ns, err := os.Readlink("/proc/" + entry.Name() + "/ns/net"); err == nil && entry.Name() != "self" && entry.Name() != "thread-self" {
			found[ns] = append(found[ns], entry.Name())
		}
	}
	return found, nil
}

// noMounts finds mounts of the real machine that hold a file or a namespace of the lab.
func (l *Lab) noMounts() error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(lines(string(text)), func(line string) bool {
		ours := strings.Contains(line, l.dir+"/")
		for _, m := range l.machines() {
			ours = ours || m.netns != "" && strings.Contains(line, m.netns)
		}
		return !ours
	})
	return leftover("mount", left)
}
