package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/kernel/fake"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// describe prints the records of a snapshot.
func describe(s *state.Snapshot) string {
	var b strings.Builder
	for n := range s.Networks() {
		fmt.Fprintf(&b, "%+v\n", n)
	}
	for c := range s.Containers() {
		fmt.Fprintf(&b, "%s %s %s\n", c.ID, c.Name, c.Document)
	}
	for sb := range s.Sandboxes() {
		fmt.Fprintf(&b, "%+v\n", sb)
	}
	for e := range s.Endpoints() {
		fmt.Fprintf(&b, "%+v\n", e)
	}
	return b.String()
}

const (
	walks   = 200
	walkLen = 60
	// mostOwners is how many owners one op of the walk can touch: a sandbox and
	// its endpoints, of which there is at most one on each of six networks; or a
	// network and its parent, with the endpoints and sandboxes of five stopped containers.
	mostOwners = 12
)

// TestPathIndependence walks at random through what users do and checks after
// every step that the incremental plan equals the full one, and at the end that
// the kernel equals one built from nothing: the state counts, not the way.
func TestPathIndependence(t *testing.T) {
	for seed := range uint64(walks) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.compiled = nil
			rng := rand.New(rand.NewPCG(seed, 1))
			done := 0
			for range walkLen {
				if _, err := r.Do(t.Context(), r.randomOp(rng)); err == nil {
					done++
				}
				if got, want := r.Plan().String(), r.full(t); got != want {
					t.Fatalf("incremental plan:\n%s\nfull plan:\n%s", got, want)
				}
				checkRecords(t, r.Snapshot())
			}
			if done < walkLen/4 {
				t.Errorf("only %d of %d ops succeeded: the walk goes nowhere", done, walkLen)
			}
			for _, n := range r.compiled {
				if n > mostOwners {
					t.Errorf("a turn compiled %d owners, want at most %d", n, mostOwners)
				}
			}
			checkFresh(t, r)
		})
	}
}

// checkRecords: a container and its sandbox tell one story.
func checkRecords(t *testing.T, s *state.Snapshot) {
	t.Helper()
	for c := range s.Containers() {
		sb, ok := s.SandboxOf(c.ID)
		if !ok || sb.Name != c.Name {
			t.Fatalf("the sandbox of %s is called %q (%t)", c.Name, sb.Name, ok)
		}
		if named, _ := s.ContainerNamed(c.Name); named.ID != c.ID {
			t.Fatalf("%s is the name of %s and of %s", c.Name, c.ID, named.ID)
		}
	}
	for sb := range s.Sandboxes() {
		if _, ok := s.Container(sb.Container); !ok {
			t.Fatalf("the sandbox %s has no container", sb.Name)
		}
	}
}

func checkFresh(t *testing.T, r *rig) {
	t.Helper()
	fresh := &fake.Kernel{}
	if _, err := fresh.Resync(t.Context(), r.Plan()); err != nil {
		t.Fatal(err)
	}
	if got, want := withoutOldSysctls(r), fresh.String(); got != want {
		t.Errorf("the kernel:\n%s\none built from nothing:\n%s", got, want)
	}
	if report, err := r.Resync(t.Context()); err != nil || report.Writes != 0 {
		t.Errorf("a second look wrote %d times (%v): %v", report.Writes, err, report.Drift)
	}
}

// withoutOldSysctls returns the kernel without the settings that are no longer
// wanted: a sysctl is never set back, it vanishes with its namespace.
func withoutOldSysctls(r *rig) string {
	var out strings.Builder
	for line := range strings.Lines(r.kernel.String()) {
		if !strings.HasPrefix(line, "sysctl ") || strings.Contains(r.Plan().String(), "\t"+line) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// randomOp draws one request; many of them are refused, as users' are.
func (r *rig) randomOp(rng *rand.Rand) ops.Op {
	nets := []string{"bridge", "red", "green", "lan", "blue", "six"}
	box := string(rune('a' + rng.IntN(5)))
	net := nets[rng.IntN(len(nets))]
	switch rng.IntN(12) {
	case 0, 1:
		n := network(net)
		n.Internal, n.IPv6 = net == "blue", net == "six"
		if net == "green" || net == "lan" { // they share a parent, which is made for them
			n.Driver, n.Options = "macvlan", map[string]string{"parent": "eth0.5"}
		}
		return r.Networks().Create(n)
	case 2:
		return ops.RemoveNetwork(net)
	case 3, 4:
		sb := sandbox(box)
		sb.Publish = publish([]string{"", "8000-8002", "8001"}[rng.IntN(3)])
		return ops.All(ops.CreateContainer(recordOf(box, box)), ops.CreateSandbox(sb, r.someMemberships(rng, nets)))
	case 5:
		return ops.RemoveContainer(sandbox(box).Container)
	case 6, 7:
		return ops.StartSandbox(sandboxID(box))
	case 8:
		return ops.StopSandbox(sandboxID(box))
	case 9:
		spec := r.on(net)
		spec.Priority, spec.Aliases = rng.IntN(3), []string{"alias"}
		if net == "bridge" {
			spec.Aliases = nil
		}
		return ops.Connect(sandboxID(box), spec)
	case 10:
		return ops.Disconnect(sandboxID(box), net, rng.IntN(2) == 0)
	}
	// Names that others have, too.
	return ops.RenameContainer(recordOf(box, string(rune('a'+rng.IntN(5)))+[]string{"", "1"}[rng.IntN(2)]))
}

// recordOf returns the record of a box that is called name now.
func recordOf(box, name string) model.Container {
	return model.Container{ID: sandbox(box).Container, Name: name, Document: []byte(`{"Name":"` + name + `"}`)}
}

func (r *rig) someMemberships(rng *rand.Rand, nets []string) []ops.EndpointSpec {
	var out []ops.EndpointSpec
	for _, i := range rng.Perm(len(nets))[:1+rng.IntN(2)] {
		out = append(out, r.on(nets[i]))
	}
	return out
}

// TestAttachCompilesTwoOwners: what an attach costs does not depend on how many
// endpoints there are.
func TestAttachCompilesTwoOwners(t *testing.T) {
	r := newRig(t)
	for i := range 50 {
		name := fmt.Sprint("box", i)
		r.must(t, ops.CreateSandbox(sandbox(name), []ops.EndpointSpec{r.on("bridge")}))
		r.compiled = nil
		r.must(t, ops.StartSandbox(sandboxID(name)))
		if len(r.compiled) != 1 || r.compiled[0] != 2 {
			t.Fatalf("with %d endpoints there, attaching one compiled %v owners, want one turn of 2", i, r.compiled)
		}
	}
	if got := len(slices.Collect(r.Snapshot().Endpoints())); got != 50 {
		t.Errorf("%d endpoints, want 50", got)
	}
}
