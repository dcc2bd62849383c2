package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// fakeReserver holds ports in memory, among processes that it knows.
type fakeReserver struct {
	mu      sync.Mutex
	held    map[desired.Reserve]bool
	outside map[desired.Reserve]string // who holds it
	broken  error
	asked   int
}

func (c *fakeReserver) Reserve(_ context.Context, rows []desired.Reserve) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.broken != nil {
		return c.broken
	}
	var fresh []desired.Reserve
	for _, row := range rows {
		if c.held[row] {
			continue
		}
		for other, who := range c.outside {
			if row.Collides(other) {
				return &desired.PortTaken{Row: row, Port: max(row.First, other.First), Who: who, Err: syscall.EADDRINUSE}
			}
		}
		for other := range c.held {
			if row.Collides(other) {
				return fmt.Errorf("%s lies across %s, which is ours", row, other)
			}
		}
		fresh = append(fresh, row)
	}
	for _, row := range fresh {
		c.held[row] = true
	}
	return nil
}

func (c *fakeReserver) Release(_ context.Context, rows []desired.Reserve) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, row := range rows {
		delete(c.held, row)
	}
	return nil
}

func (c *fakeReserver) Reserved(context.Context) ([]desired.Reserve, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []desired.Reserve
	for row := range c.held {
		out = append(out, row)
	}
	return out, nil
}

// String prints what is held, in order.
func (c *fakeReserver) String() string {
	rows, _ := c.Reserved(context.Background())
	var out []string
	for _, row := range rows {
		out = append(out, row.String())
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// planned prints what the plan wants held.
func (r *rig) planned() string {
	var out []string
	for o := range r.Plan().Kind(desired.KindReserve) {
		out = append(out, o.Row.String())
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func (r *rig) checkReserved(t *testing.T) {
	t.Helper()
	if got, want := r.reserver.String(), r.planned(); got != want {
		t.Errorf("held:\n%s\nwant:\n%s", got, want)
	}
}

// publish reads host ports for container port 80; "" is any.
func publish(ports ...string) []model.PortSpec {
	var out []model.PortSpec
	for _, text := range ports {
		spec := model.PortSpec{Protocol: model.TCP, Container: model.Port(80)}
		if text != "" {
			fmt.Sscanf(text, "%d-%d", &spec.HostPorts.First, &spec.HostPorts.Last)
			spec.HostPorts.Last = max(spec.HostPorts.First, spec.HostPorts.Last)
		}
		out = append(out, spec)
	}
	return out
}

func (r *rig) box(t testing.TB, name string, publish []model.PortSpec, networks ...string) model.SandboxID {
	t.Helper()
	sb := sandbox(name)
	sb.Publish = publish
	var specs []ops.EndpointSpec
	for _, n := range networks {
		specs = append(specs, r.on(n))
	}
	r.must(t, ops.CreateSandbox(sb, specs))
	return sb.ID
}

func reserve(addr string, first, last uint16) desired.Reserve {
	return desired.Reserve{Protocol: model.TCP, Addr: netip.MustParseAddr(addr), First: first, Last: last}
}

func TestPortsAreReservedAndReleased(t *testing.T) {
	r := newRig(t)
	id := r.box(t, "a", publish("8080"), "bridge")
	r.must(t, ops.StartSandbox(id))
	if got := r.reserver.String(); got != "reserve tcp 0.0.0.0:8080\nreserve tcp [::]:8080" {
		t.Errorf("held:\n%s", got)
	}
	before := r.reserver.asked
	r.restart(t)
	r.checkReserved(t)
	if r.reserver.asked != before {
		t.Error("a restart reserved what was held already")
	}
	r.must(t, ops.StopSandbox(id))
	if got := r.reserver.String(); got != "" {
		t.Errorf("still held:\n%s", got)
	}
}

func TestTakenPort(t *testing.T) {
	r := newRig(t)
	r.reserver.outside[reserve("127.0.0.1", 8080, 8080)] = "process nginx, pid 123"
	fixed := r.box(t, "fixed", publish("8080"), "bridge")
	kernel, snapshot := r.kernel.String(), r.Snapshot()
	_, err := r.Do(t.Context(), ops.StartSandbox(fixed))
	want := "): failed to bind host port 0.0.0.0:8080/tcp: address already in use\nprocess nginx, pid 123"
	if err == nil || !strings.HasSuffix(err.Error(), want) || !strings.HasPrefix(err.Error(), "driver failed programming external connectivity on endpoint fixed (") {
		t.Errorf("error %v, want one that ends in %q", err, want)
	}
	if r.kernel.String() != kernel || r.Snapshot() != snapshot || r.reserver.String() != "" {
		t.Error("the refused start left something")
	}
	choice := r.box(t, "choice", publish("8080-8081"), "bridge")
	r.must(t, ops.StartSandbox(choice))
	if got := r.reserver.String(); got != "reserve tcp 0.0.0.0:8081\nreserve tcp [::]:8081" {
		t.Errorf("held:\n%s", got)
	}
	// What was learned is forgotten: the process may have ended.
	clear(r.reserver.outside)
	r.must(t, ops.StartSandbox(fixed))
	r.checkReserved(t)
}

func TestFreePortPassesOverTakenOnes(t *testing.T) {
	r := newRig(t)
	id := r.box(t, "a", publish(""), "bridge")
	r.must(t, ops.StartSandbox(id), ops.StopSandbox(id))
	sb, _ := r.Snapshot().Sandbox(id)
	first := sb.Ports[0].HostFirst
	for i := range uint16(3) {
		r.reserver.outside[reserve("::", first+i, first+i)] = "process sshd, pid 7"
	}
	r.must(t, ops.StartSandbox(id))
	if sb, _ := r.Snapshot().Sandbox(id); sb.Ports[0].HostFirst != first+3 {
		t.Errorf("port %d, want the one after three that are taken, %d", sb.Ports[0].HostFirst, first+3)
	}
	r.checkReserved(t)
}

func TestTriesAreBounded(t *testing.T) {
	r := newRig(t)
	r.reserver.outside[reserve("0.0.0.0", 1, 65535)] = "process greedy, pid 9"
	id := r.box(t, "a", publish(""), "bridge")
	if _, err := r.Do(t.Context(), ops.StartSandbox(id)); err == nil || r.reserver.asked > maxTries+2 {
		t.Errorf("error %v after %d tries", err, r.reserver.asked)
	}
	var held *desired.PortTaken
	if _, err := r.Do(t.Context(), ops.StartSandbox(id)); !errors.As(err, &held) || held.Who != "process greedy, pid 9" {
		t.Errorf("error %v, want who holds the ports", err)
	}
}

// TestOnePortForTheGuilty: in one turn, the op whose port is taken fails alone.
func TestOnePortForTheGuilty(t *testing.T) {
	r := newRig(t)
	r.reserver.outside[reserve("0.0.0.0", 8001, 8001)] = "process x, pid 1"
	var batch []*request
	for i := range 4 {
		id := r.box(t, fmt.Sprint(i), publish(fmt.Sprint(8000+i)), "bridge")
		batch = append(batch, &request{ctx: t.Context(), op: ops.StartSandbox(id), answer: make(chan answer, 1)})
	}
	r.Close() // the turn below is the only writer
	r.turn(t.Context(), batch)
	for i, q := range batch {
		if a := <-q.answer; (a.err != nil) != (i == 1) {
			t.Errorf("%d: %v", i, a.err)
		}
	}
	r.checkReserved(t)
}

// TestPortPassesOnWithinATurn: a container stops and another takes a part of its
// ports, before anything was done in between.
func TestPortPassesOnWithinATurn(t *testing.T) {
	r := newRig(t)
	sb := sandbox("old")
	sb.Publish = []model.PortSpec{{Protocol: model.TCP, Container: model.PortRange{First: 1, Last: 500}, HostPorts: model.PortRange{First: 8001, Last: 8500}}}
	r.must(t, ops.CreateSandbox(sb, []ops.EndpointSpec{r.on("bridge")}), ops.StartSandbox(sb.ID))
	id := r.box(t, "new", publish("8250"), "bridge")
	var batch []*request
	for _, op := range []ops.Op{ops.StopSandbox(sb.ID), ops.StartSandbox(id)} {
		batch = append(batch, &request{ctx: t.Context(), op: op, answer: make(chan answer, 1)})
	}
	r.Close()
	r.turn(t.Context(), batch)
	for i, q := range batch {
		if a := <-q.answer; a.err != nil {
			t.Errorf("%d: %v", i, a.err)
		}
	}
	if got := r.reserver.String(); got != "reserve tcp 0.0.0.0:8250\nreserve tcp [::]:8250" {
		t.Errorf("held:\n%s", got)
	}
}

func TestReservationIsTakenBack(t *testing.T) {
	r := newRig(t)
	id := r.box(t, "a", publish("8080"), "bridge")
	r.kernel.FailWrite(1)
	if _, err := r.Do(t.Context(), ops.StartSandbox(id)); err == nil || r.reserver.String() != "" {
		t.Errorf("the kernel refused (%v), held:\n%s", err, r.reserver)
	}
	r.store.Fail = func() error { return syscall.ENOSPC }
	if _, err := r.Do(t.Context(), ops.StartSandbox(id)); err == nil || r.reserver.String() != "" {
		t.Errorf("the store refused (%v), held:\n%s", err, r.reserver)
	}
	r.store.Fail = nil
	r.reserver.broken = errors.New("no keeper")
	if _, err := r.Do(t.Context(), ops.StartSandbox(id)); err == nil || !strings.Contains(err.Error(), "reserve host ports: no keeper") {
		t.Errorf("without a reserver: %v", err)
	}
}

func TestResyncReservesAgain(t *testing.T) {
	r := newRig(t)
	r.must(t, ops.StartSandbox(r.box(t, "a", publish("8080"), "bridge")))
	clear(r.reserver.held) // whoever held them was killed
	r.reserver.held[reserve("0.0.0.0", 7, 7)] = true
	report, err := r.Check(t.Context())
	if want := "[left over: reserve tcp 0.0.0.0:7 missing: reserve tcp 0.0.0.0:8080 missing: reserve tcp [::]:8080]"; err != nil || fmt.Sprint(report.Drift) != want {
		t.Errorf("found %v (%v), want %s", report.Drift, err, want)
	}
	if _, err := r.Resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.checkReserved(t)
	// A port that was lost meanwhile keeps nobody from having the others.
	clear(r.reserver.held)
	r.reserver.outside[reserve("0.0.0.0", 8080, 8080)] = "process thief, pid 3"
	if _, err := r.Resync(t.Context()); err != nil || r.reserver.String() != "reserve tcp [::]:8080" {
		t.Errorf("held (%v):\n%s", err, r.reserver)
	}
}

// TestPublishedPortsAgree starts, stops, connects and removes at random, while
// processes of the host take ports and let go: what is held, what the plan opens
// and what containers are said to have stay the same thing.
func TestPublishedPortsAgree(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 3))
		r := newRig(t)
		r.must(t, r.Networks().Create(network("red")))
		done := 0
		for range 80 {
			if rng.IntN(8) == 0 {
				clear(r.reserver.outside)
				port := uint16(8000 + rng.IntN(6))
				row := reserve("0.0.0.0", port, port)
				if !slices.ContainsFunc(strings.Split(r.reserver.String(), "\n"), func(s string) bool { return s == row.String() }) {
					r.reserver.outside[row] = "process x, pid 1"
				}
			}
			if _, err := r.Do(t.Context(), r.randomPortOp(rng)); err == nil {
				done++
			} else if model.KindOf(err) == model.Internal {
				t.Fatalf("seed %d: %v", seed, err)
			}
			r.checkReserved(t)
			r.checkPublished(t)
			if t.Failed() {
				t.FailNow()
			}
		}
		if done < 20 {
			t.Errorf("seed %d: only %d ops succeeded", seed, done)
		}
	}
}

func (r *rig) randomPortOp(rng *rand.Rand) ops.Op {
	box := string(rune('a' + rng.IntN(4)))
	net := []string{"bridge", "red"}[rng.IntN(2)]
	switch rng.IntN(10) {
	case 0, 1:
		sb := sandbox(box)
		for range 1 + rng.IntN(2) {
			sb.Publish = append(sb.Publish, publish([]string{"", "8000-8003", "8001", "8002"}[rng.IntN(4)])...)
		}
		return ops.CreateSandbox(sb, []ops.EndpointSpec{r.on(net)})
	case 2:
		return ops.RemoveSandbox(sandboxID(box))
	case 3:
		return ops.Connect(sandboxID(box), r.on(net))
	case 4:
		return ops.Disconnect(sandboxID(box), net, false)
	case 5, 6:
		return ops.StopSandbox(sandboxID(box))
	}
	return ops.StartSandbox(sandboxID(box))
}

// checkPublished compares what the model says with the rows of the plan and with
// the kernel.
func (r *rig) checkPublished(t *testing.T) {
	t.Helper()
	var model, plan []string
	for sb := range r.Snapshot().Sandboxes() {
		if !sb.Up {
			continue
		}
		for _, b := range sb.Ports {
			model = append(model, netip.AddrPortFrom(b.Host, b.HostFirst).String())
		}
	}
	for o := range r.Plan().All() {
		switch row := o.Row.(type) {
		case desired.Publish:
			plan = append(plan, netip.AddrPortFrom(row.Host, row.First).String())
			if !strings.Contains(r.kernel.String(), row.String()+"\n") {
				t.Errorf("the kernel lacks %s", row)
			}
		case desired.Forward:
			plan = append(plan, netip.AddrPortFrom(row.Host, row.First).String())
		}
	}
	slices.Sort(model)
	slices.Sort(plan)
	if !slices.Equal(model, plan) {
		t.Errorf("the model opens %v, the plan %v", model, plan)
	}
	if got := strings.Count(r.kernel.String(), "policy publish"); got != strings.Count(r.Plan().String(), "policy publish") {
		t.Errorf("the kernel has %d ports", got)
	}
}
