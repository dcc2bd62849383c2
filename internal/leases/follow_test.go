package leases

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/plan/plantest"
	"github.com/linkspan/linkspan/internal/state"
)

// watched is what a keeper holds, and at which revision.
type watched struct {
	revision uint64
	held     []facts.HeldLease
}

// rig is an engine that runs ops one by one, and a keeper that holds what the test says.
type rig struct {
	now   *state.Snapshot
	known facts.Set

	revision uint64       // of what the keeper holds
	watched  chan watched // it, from now on
	asked    []facts.LeaseRequest
	returned []model.EndpointID
}

func (r *rig) Snapshot() *state.Snapshot { return r.now }
func (r *rig) Facts() facts.Set          { return r.known }

func (r *rig) Learn(_ context.Context, learned ...facts.Fact) error {
	r.known = r.known.With(learned...)
	return nil
}

func (r *rig) Do(_ context.Context, op ops.Op) (*state.Snapshot, error) {
	tx := ops.Begin(r.now, r.known, all.Drivers())
	if err := op(tx); err != nil {
		return nil, err
	}
	r.now, _ = tx.Commit()
	return r.now, nil
}

func (r *rig) AskLease(_ context.Context, q facts.LeaseRequest) (model.Lease, error) {
	r.asked = append(r.asked, q)
	return lease("198.51.100.77/24"), nil
}

func (r *rig) ReturnLease(_ context.Context, id model.EndpointID) error {
	r.returned = append(r.returned, id)
	return nil
}

func (r *rig) WatchLeases(ctx context.Context, _ uint64) (uint64, []facts.HeldLease, error) {
	select {
	case w := <-r.watched:
		return w.revision, w.held, nil
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}

// holds has the keeper hold other leases from now on, and waits until that has taken effect.
func (r *rig) holds(held ...facts.HeldLease) {
	r.revision++
	r.watched <- watched{r.revision, held}
	synctest.Wait()
}

func lease(address string) model.Lease {
	p := netip.MustParsePrefix(address)
	return model.Lease{Prefix: p, Gateway: netip.MustParseAddr("198.51.100.1"), Server: netip.MustParseAddr("198.51.100.1")}
}

// started returns a rig on which the container web runs with a lease, and its endpoint.
func started(t *testing.T, first model.Lease) (*rig, model.Endpoint) {
	t.Helper()
	r := &rig{now: state.Empty(), watched: make(chan watched)}
	drivers := all.Drivers()
	do := func(op ops.Op) {
		if _, err := r.Do(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	lan := plantest.Network("lan", map[string]string{"driver": "macvlan", "parent": "eth0"})
	lan.IPAM.Driver = model.IPAMDHCP
	do(ops.NetworkMaker{Drivers: drivers}.Create(lan))
	do(plantest.Request(t, drivers, []string{"container", "web", "@lan="}))
	e := slices.Collect(r.now.Endpoints())[0]
	if err := r.Learn(t.Context(), facts.Endpoint{ID: e.ID}.WithLease(model.IPv4, &first)); err != nil {
		t.Fatal(err)
	}
	do(ops.StartSandbox(plantest.Sandbox("web").ID))
	e, _ = r.now.Endpoint(e.ID)
	if !e.Up || e.Addr4 != first.Prefix.Addr() {
		t.Fatalf("the endpoint is %+v", e)
	}
	return r, e
}

// TestFollow: model, facts and events follow what the keeper says of a lease, and the container's files are told whenever
// its address is another, and only then.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := lease("198.51.100.20/24")
		r, e := started(t, first)
		bus := &events.Bus{}
		_, heard := bus.Subscribe(t.Context(), time.Time{}, time.Time{}, func(events.Message) bool { return true })
		var told []model.ContainerID
		f := &Follower{Source: Source{Keeper: r, Drivers: all.Drivers()}, Engine: r, Events: bus, Logger: slog.New(slog.DiscardHandler),
			Changed: func(id model.ContainerID) { told = append(told, id) }}
		ctx, end := context.WithCancel(t.Context())
		go f.Follow(ctx)
		request := facts.LeaseRequest{Endpoint: e.ID}
		renewed := first
		renewed.Until = time.Now().Add(time.Hour)
		named := renewed
		named.DNS = []netip.Addr{netip.MustParseAddr("198.51.100.53")}
		for _, step := range []struct {
			what    string
			held    facts.HeldLease
			address netip.Addr
			event   string
			files   bool // the container's are written anew
		}{
			{"as it is", facts.HeldLease{Request: request, Lease: first}, first.Prefix.Addr(), "", false},
			{"renewed", facts.HeldLease{Request: request, Lease: renewed}, first.Prefix.Addr(), "", false},
			{"another name server", facts.HeldLease{Request: request, Lease: named}, first.Prefix.Addr(), "", true},
			{"another", facts.HeldLease{Request: request, Lease: lease("198.51.100.30/24")}, netip.MustParseAddr("198.51.100.30"), "lease-changed", true},
			{"lost", facts.HeldLease{Request: request, Lease: lease("198.51.100.30/24"), Lost: "no answer"}, netip.Addr{}, "lease-lost", true},
			{"still lost", facts.HeldLease{Request: request, Lease: lease("198.51.100.30/24"), Lost: "no answer"}, netip.Addr{}, "", false},
			{"again", facts.HeldLease{Request: request, Lease: lease("198.51.100.31/24")}, netip.MustParseAddr("198.51.100.31"), "lease-changed", true},
		} {
			told = nil
			r.holds(step.held)
			now, _ := r.now.Endpoint(e.ID)
			if now.Addr4 != step.address {
				t.Errorf("%s: the address is %v, want %v", step.what, now.Addr4, step.address)
			}
			if l := r.known.Endpoint(e.ID).Lease4; step.held.Lost == "" && (l == nil || !same(*l, step.held.Lease)) {
				t.Errorf("%s: what is known of the endpoint is %+v", step.what, l)
			}
			event := ""
			select {
			case m := <-heard:
				event = string(m.Action)
			default:
			}
			if event != step.event || (len(told) == 1) != step.files {
				t.Errorf("%s: event %q, want %q; files of %v, want %v", step.what, event, step.event, told, step.files)
			}
		}
		end()
		synctest.Wait()
	})
}

// TestKeeperForgot: a lease that the keeper does not hold any more is asked for again; if the container has ended meanwhile
// it is given back.
func TestKeeperForgot(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r, e := started(t, lease("198.51.100.20/24"))
			f := &Follower{Source: Source{Keeper: slow{r, func() {
				if stopped {
					if _, err := r.Do(t.Context(), ops.StopSandbox(e.Sandbox)); err != nil {
						t.Error(err)
					}
				}
			}}, Drivers: all.Drivers()}, Engine: r, Events: &events.Bus{}, Logger: slog.New(slog.DiscardHandler)}
			ctx, end := context.WithCancel(t.Context())
			go f.Follow(ctx)
			r.holds()
			if len(r.asked) != 1 || r.asked[0].Endpoint != e.ID || r.asked[0].Want != e.Addr4 || r.asked[0].Device != "eth0" {
				t.Errorf("asked for %+v", r.asked)
			}
			if returned := len(r.returned) == 1 && r.returned[0] == e.ID; returned != stopped {
				t.Errorf("the container has ended: %v; given back: %v", stopped, r.returned)
			}
			end()
			synctest.Wait()
		})
	}
}

// TestAskedOnce: while a lease that the keeper forgot is asked for, changes of others do not
// have it asked for again; afterwards they do.
func TestAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := started(t, lease("198.51.100.20/24"))
		answer := make(chan bool)
		f := &Follower{Source: Source{Keeper: slow{r, func() { <-answer }}, Drivers: all.Drivers()}, Engine: r, Events: &events.Bus{}, Logger: slog.New(slog.DiscardHandler)}
		ctx, end := context.WithCancel(t.Context())
		go f.Follow(ctx)
		for _, want := range []int{1, 2} {
			for range 3 {
				r.holds()
			}
			for waits := true; waits; {
				select {
				case answer <- true:
					synctest.Wait()
				default:
					waits = false
				}
			}
			if len(r.asked) != want {
				t.Errorf("asked %d times, want %d", len(r.asked), want)
			}
		}
		end()
		synctest.Wait()
	})
}

// slow is a keeper during whose question something happens.
type slow struct {
	*rig
	meanwhile func()
}

func (s slow) AskLease(ctx context.Context, q facts.LeaseRequest) (model.Lease, error) {
	s.meanwhile()
	return s.rig.AskLease(ctx, q)
}
