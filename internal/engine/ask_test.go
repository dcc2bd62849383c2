package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// fakeSource gives addresses out of a range, and can be slow, and fail.
type fakeSource struct {
	slow chan struct{} // if set, an answer waits until it is closed
	mu   sync.Mutex
	// given is what was given and not returned; asked and returned count.
	given           map[model.EndpointID]facts.Endpoint
	asked, returned int
	broken          error
	astray          bool // answers are about somebody else
	waiting         chan struct{}
}

func newSource() *fakeSource {
	return &fakeSource{given: map[model.EndpointID]facts.Endpoint{}, waiting: make(chan struct{}, 100)}
}

func (s *fakeSource) Ask(ctx context.Context, q facts.Question) (facts.Fact, error) {
	if s.slow != nil {
		s.waiting <- struct{}{}
		select {
		case <-s.slow:
		case <-ctx.Done():
			return nil, fmt.Errorf("hung up: %w", ctx.Err())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.broken != nil {
		return nil, s.broken
	}
	id := q.Endpoint.ID
	if s.astray {
		id = "somebody else"
	}
	f := lease(id, fmt.Sprintf("198.51.%d.%d/16", s.asked/250, 1+s.asked%250))
	s.given[q.Endpoint.ID] = f
	return f, nil
}

func (s *fakeSource) Return(_ context.Context, f, _ facts.Fact) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	about := f.(facts.Endpoint)
	for id, given := range s.given {
		if given == about {
			delete(s.given, id)
			s.returned++
		}
	}
	return nil
}

func (s *fakeSource) Answers(context.Context) ([]facts.Fact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []facts.Fact
	for _, f := range s.given {
		out = append(out, f)
	}
	return out, nil
}

// counts prints how much was asked, returned, and is still given.
func (s *fakeSource) counts() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("asked %d, returned %d, given %d", s.asked, s.returned, len(s.given))
}

// withSource opens a rig with a source and a network of the driver leased, on which
// the containers a, b and c are members.
func withSource(t *testing.T) (*rig, *fakeSource) {
	t.Helper()
	source := newSource()
	r := newRig(t)
	r.Close()
	r.source = source
	r.open(t)
	r.must(t, r.Networks().Create(leasedNetwork("lan")))
	for _, box := range []string{"a", "b", "c"} {
		r.box(t, box, nil, "lan")
	}
	return r, source
}

// startLeased starts a container, and must know which address it has on lan.
func startLeased(box string) ops.Op {
	return func(tx ops.Tx) error {
		n, _ := tx.View().NetworkNamed("lan")
		sb, _ := tx.View().Sandbox(sandboxID(box))
		if e, ok := tx.View().EndpointAt(sb.ID, n.ID); ok && tx.Facts().Endpoint(e.ID).Empty() {
			return fmt.Errorf("start: %w", &facts.Missing{Question: facts.Question{Network: n, Endpoint: e, Sandbox: sb}})
		}
		return ops.StartSandbox(sb.ID)(tx)
	}
}

// quiet waits until nothing is being asked or given back.
func (r *rig) quiet(t *testing.T) {
	t.Helper()
	for {
		r.asker.mu.Lock()
		var over chan struct{}
		for _, h := range r.asker.busy {
			over = h.over
		}
		r.asker.mu.Unlock()
		if over == nil {
			return
		}
		<-over
	}
}

// checkAnswers compares what is given with what the engine knows, and with the kernel.
func (r *rig) checkAnswers(t *testing.T, s *fakeSource) {
	t.Helper()
	r.quiet(t)
	var known, given []string
	for e := range r.now.Load().facts.Endpoints() {
		known = append(known, fmt.Sprint(e))
		if !strings.Contains(r.kernel.String(), e.Addr4.String()) {
			t.Errorf("the kernel lacks %s", e.Addr4)
		}
	}
	for _, e := range s.given {
		given = append(given, fmt.Sprint(e))
	}
	slices.Sort(given)
	slices.Sort(known)
	if !slices.Equal(known, given) {
		t.Errorf("known: %q, given: %q", known, given)
	}
}

func TestAskedAndReturned(t *testing.T) {
	r, source := withSource(t)
	r.must(t, startLeased("a"), startLeased("b"))
	r.checkAnswers(t, source)
	if got := source.counts(); got != "asked 2, returned 0, given 2" {
		t.Error(got)
	}
	r.must(t, ops.StopSandbox(sandboxID("a")), ops.Disconnect(sandboxID("b"), "lan", false))
	r.checkAnswers(t, source)
	if got := source.counts(); got != "asked 2, returned 2, given 0" {
		t.Error(got)
	}
	r.must(t, startLeased("a"))
	r.checkAnswers(t, source)
	if got := source.counts(); got != "asked 3, returned 2, given 1" {
		t.Error(got)
	}
}

// TestSlowAnswersHoldUpNobody: while a source thinks, others are served.
func TestSlowAnswersHoldUpNobody(t *testing.T) {
	r, source := withSource(t)
	source.slow = make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := r.Do(context.Background(), startLeased("a"))
		done <- err
	}()
	<-source.waiting
	r.must(t, r.Networks().Create(network("web")), ops.StartSandbox(sandboxID("b")), ops.StopSandbox(sandboxID("b")))
	select {
	case err := <-done:
		t.Fatalf("answered before the source was: %v", err)
	default:
	}
	close(source.slow)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.checkAnswers(t, source)
}

// TestAnswersThatAreNotHad: the caller is told why, and the next one asks anew.
func TestAnswersThatAreNotHad(t *testing.T) {
	noServer := model.Errorf(model.Unavailable, "no DHCP server answers")
	for name, c := range map[string]struct {
		fail   func(t *testing.T, r *rig, s *fakeSource) context.Context
		is     error
		says   string
		counts string
	}{
		"the source fails": {func(t *testing.T, _ *rig, s *fakeSource) context.Context {
			s.broken = noServer
			return t.Context()
		}, noServer, "no DHCP server answers", "asked 1, returned 0, given 0"},
		"the source is too slow": {func(t *testing.T, r *rig, s *fakeSource) context.Context {
			s.slow, r.asker.timeout = make(chan struct{}), time.Millisecond
			return t.Context()
		}, context.DeadlineExceeded, "no answer within 1ms", "asked 0, returned 0, given 0"},
		"the caller goes away": {func(t *testing.T, _ *rig, s *fakeSource) context.Context {
			s.slow = make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-s.waiting; cancel() }()
			return ctx
		}, context.Canceled, "context canceled", "asked 0, returned 0, given 0"},
		"the answer is about somebody else": {func(t *testing.T, _ *rig, s *fakeSource) context.Context {
			s.astray = true
			return t.Context()
		}, nil, "the answer is about endpoint/somebody else", "asked 1, returned 1, given 0"},
		"the kernel refuses what follows": {func(t *testing.T, r *rig, _ *fakeSource) context.Context {
			r.kernel.FailWrite(3)
			return t.Context()
		}, nil, "injected", "asked 1, returned 1, given 0"},
		"the store is full": {func(t *testing.T, r *rig, _ *fakeSource) context.Context {
			r.store.Fail = func() error { return errors.New("no space left") }
			return t.Context()
		}, nil, "no space left", "asked 1, returned 1, given 0"},
	} {
		t.Run(name, func(t *testing.T) {
			r, source := withSource(t)
			kernel, snapshot, timeout := r.kernel.String(), r.Snapshot(), r.asker.timeout
			_, err := r.Do(c.fail(t, r, source), startLeased("a"))
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want %q", err, c.says)
			}
			r.checkAnswers(t, source)
			if got := source.counts(); got != c.counts {
				t.Error(got)
			}
			if r.kernel.String() != kernel || r.Snapshot() != snapshot {
				t.Errorf("it left\n%s", r.kernel)
			}
			source.slow, source.broken, source.astray, r.store.Fail, r.asker.timeout = nil, nil, false, nil, timeout
			r.must(t, startLeased("a"))
			r.checkAnswers(t, source)
		})
	}
}

// TestOneQuestionAtATime: who needs what somebody else asks for already waits for the
// answer, and does not ask.
func TestOneQuestionAtATime(t *testing.T) {
	r, source := withSource(t)
	source.slow = make(chan struct{})
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			_, err := r.Do(context.Background(), startLeased("a"))
			done <- err
		}()
	}
	<-source.waiting
	close(source.slow)
	ok := 0
	for range cap(done) {
		if err := <-done; err == nil {
			ok++
		}
	}
	if ok == 0 {
		t.Error("nobody's op took effect")
	}
	r.checkAnswers(t, source)
	if source.asked != 1+source.returned {
		t.Error(source.counts())
	}
}

// TestAnswersOutliveTheDaemon: the next one plans the same, and gives back what nobody
// needs any more.
func TestAnswersOutliveTheDaemon(t *testing.T) {
	r, source := withSource(t)
	r.must(t, startLeased("a"))
	before, writes := r.kernel.String(), r.kernel.Writes()
	source.given["gone"] = lease("gone", "198.51.100.9/16")
	r.restart(t)
	if r.kernel.String() != before || r.kernel.Writes() != writes {
		t.Errorf("after the restart:\n%s\nbefore:\n%s", r.kernel, before)
	}
	r.checkAnswers(t, source)
	if got := source.counts(); got != "asked 1, returned 1, given 1" {
		t.Error(got)
	}
}

// TestNobodyToAsk: without a source, an op that asks fails.
func TestNobodyToAsk(t *testing.T) {
	r := newRig(t)
	r.must(t, r.Networks().Create(leasedNetwork("lan")))
	r.box(t, "a", nil, "lan")
	if _, err := r.Do(t.Context(), startLeased("a")); model.KindOf(err) != model.Unavailable || !strings.Contains(err.Error(), "network lan") {
		t.Errorf("error %v", err)
	}
}

// TestCallersInParallelAsk starts and stops containers from many sides at once.
func TestCallersInParallelAsk(t *testing.T) {
	r, source := withSource(t)
	var wg sync.WaitGroup
	for i := range 6 {
		box := []string{"a", "b", "c"}[i%3]
		wg.Go(func() {
			for range 20 {
				r.Do(context.Background(), startLeased(box))
				r.Do(context.Background(), ops.StopSandbox(sandboxID(box)))
			}
		})
	}
	wg.Wait()
	r.checkAnswers(t, source)
	if got, want := r.Plan().String(), r.full(t); got != want {
		t.Errorf("the plan:\n%s\nfrom nothing:\n%s", got, want)
	}
}
