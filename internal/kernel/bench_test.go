package kernel_test

import (
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
)

// BenchmarkAttach measures one endpoint's rows (namespace, veth pair, bridge
// port, addresses, routes, sysctls, neighbour) beside others that are there
// already. Detaching is not part of it, but the kernel goes on taking down what
// was detached while the next round is timed: run it with -benchtime 100x, which
// is one round.
func BenchmarkAttach(b *testing.B) {
	// A bridge has room for 1023 ports.
	const round = 100 // endpoints attached before they are detached again
	for _, others := range []int{1, 900} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			l := newLab(b)
			base := kerneltest.Bridged(b, others)
			l.apply(b, desired.State{}, base)
			now, i := base, others
			for b.Loop() {
				b.StopTimer()
				if i == others+round {
					l.detach(b, now, base)
					now, i = base, others
				}
				next := kerneltest.AttachBridged(b, now, i)
				attach := desired.Diff(now, next, []desired.Owner{kerneltest.SandboxOwner(i), kerneltest.EndpointOwner(i)})
				now, i = next, i+1
				b.StartTimer()
				if err := l.Apply(b.Context(), attach); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			l.detach(b, now, desired.State{})
		})
	}
}

// BenchmarkAttachOnParent is BenchmarkAttach for a macvlan.
func BenchmarkAttachOnParent(b *testing.B) {
	l := newLab(b)
	now := kerneltest.With(b, desired.State{}, kerneltest.LANOwner, kerneltest.LAN()...)
	l.apply(b, desired.State{}, now)
	i := 0
	for b.Loop() {
		b.StopTimer()
		next := kerneltest.With(b, now, kerneltest.SandboxOwner(i), kerneltest.Sandbox(i)...)
		next = kerneltest.With(b, next, kerneltest.MemberOwner(i), kerneltest.Member(i)...)
		attach := desired.Diff(now, next, []desired.Owner{kerneltest.SandboxOwner(i), kerneltest.MemberOwner(i)})
		now, i = next, i+1
		b.StartTimer()
		if err := l.Apply(b.Context(), attach); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	l.apply(b, now, desired.State{})
}

// detach applies and waits until the kernel has taken down what dies.
func (l lab) detach(b *testing.B, from, to desired.State) {
	l.apply(b, from, to)
	for o := range from.Kind(desired.KindLink) {
		if _, stays := to.Get(o.Row.Key()); !stays {
			eventually(b, "the port is gone", func() bool { return !l.exists(b, o.Row.(desired.Link).Name) })
		}
	}
}

// BenchmarkDetach measures the other way.
func BenchmarkDetach(b *testing.B) {
	l := newLab(b)
	with := kerneltest.Bridged(b, 1)
	l.apply(b, desired.State{}, with)
	next := kerneltest.AttachBridged(b, with, 1)
	attach, detach := kerneltest.Diff(with, next), kerneltest.Diff(next, with)
	for b.Loop() {
		b.StopTimer()
		if err := l.Apply(b.Context(), attach); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := l.Apply(b.Context(), detach); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		eventually(b, "the port is gone", func() bool { return !l.exists(b, kerneltest.Port(1)) })
		b.StartTimer()
	}
}

// BenchmarkResync measures a resync that finds everything as wanted.
func BenchmarkResync(b *testing.B) {
	l := newLab(b)
	want := kerneltest.Bridged(b, 100)
	l.apply(b, desired.State{}, want)
	for b.Loop() {
		if r, err := l.Resync(b.Context(), want); err != nil || r.Writes != 0 {
			b.Fatal(r, err)
		}
	}
}
