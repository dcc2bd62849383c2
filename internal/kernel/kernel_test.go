package kernel_test

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/nft"
)

const instance = "test0"

// noFirewall accepts every policy.
type noFirewall struct{}

func (noFirewall) Apply(context.Context, []desired.Delta) error { return nil }
func (noFirewall) Resync(context.Context, []desired.Row) (desired.Report, error) {
	return desired.Report{}, nil
}
func (noFirewall) Check(context.Context, []desired.Row) (desired.Report, error) {
	return desired.Report{}, nil
}

func (noFirewall) Drops(context.Context) ([]facts.PortDrops, error)     { return nil, nil }
func (noFirewall) Traffic(context.Context) ([]facts.PortTraffic, error) { return nil, nil }

// lab is a kernel on a host of its own.
type lab struct {
	*kernel.Kernel
	host kerneltest.Host
}

func newLab(t testing.TB) lab {
	t.Helper()
	return labOn(t, kerneltest.New(t), noFirewall{})
}

func labOn(t testing.TB, host kerneltest.Host, firewall kernel.Firewall) lab {
	t.Helper()
	return labWith(t, host, kernel.Options{Firewall: firewall, ForwardingGrace: time.Nanosecond})
}

// labWith is a kernel with options beside those that every test has.
func labWith(t testing.TB, host kerneltest.Host, o kernel.Options) lab {
	t.Helper()
	o.Instance, o.Logger = cmp.Or(o.Instance, instance), slog.New(slog.DiscardHandler)
	o.NetnsDir, o.HostNetns, o.Balancer = host.Dir, host.Netns, nft.Balancer{Instance: o.Instance, Logger: o.Logger}
	k, err := kernel.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab{k, host}
}

// sh runs a command in a namespace and returns what it prints.
func (l lab) sh(t testing.TB, namespace, command string) string {
	t.Helper()
	var out []byte
	err := l.Netns().Do(t.Context(), namespace, func() (err error) {
		out, err = exec.Command("sh", "-c", command).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (l lab) apply(t testing.TB, prev, next desired.State) {
	t.Helper()
	if err := l.Apply(t.Context(), kerneltest.Diff(prev, next)); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for something that the kernel does in its own time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond) // poll
	}
}

func TestConformance(t *testing.T) {
	kerneltest.Run(t, func(t *testing.T) kerneltest.Kernel { return newLab(t) })
}

func TestApplyTwiceWritesNothing(t *testing.T) {
	l := newLab(t)
	want := kerneltest.Attached(t, 3)
	l.apply(t, desired.State{}, want)
	before := l.Writes()
	l.apply(t, desired.State{}, want)
	if n := l.Writes() - before; n != 0 {
		t.Errorf("%d writes in a second apply", n)
	}
	if before == 0 {
		t.Error("nothing was counted in the first")
	}
}

func TestCheckWritesNothing(t *testing.T) {
	l := newLab(t)
	want := kerneltest.Attached(t, 1)
	r, err := l.Check(t.Context(), want)
	if err != nil || len(r.Drift) != want.Len() || r.Writes != 0 || l.Writes() != 0 {
		t.Errorf("check of an empty kernel: %d writes, drift %q, error %v", l.Writes(), r.Drift, err)
	}
	if links := l.sh(t, "", "ip -br link"); strings.Contains(links, kerneltest.Bridge) {
		t.Errorf("check made %s", links)
	}
}

func TestRemovalLeavesNothing(t *testing.T) {
	l := newLab(t)
	l.sh(t, "", "ip link set "+kerneltest.Uplink+" up; ip link set "+kerneltest.Uplink+" down") // it has its queue then
	before := l.sh(t, "", "ip addr; ip route; ip -6 route; ip neigh; ls "+l.host.Dir)
	want := kerneltest.Attached(t, 3)
	l.apply(t, desired.State{}, want)
	l.apply(t, want, desired.State{})
	eventually(t, "all is gone", func() bool {
		return l.sh(t, "", "ip addr; ip route; ip -6 route; ip neigh; ls "+l.host.Dir) == before
	})
}

// exists tells whether the host has an interface of that name.
func (l lab) exists(t testing.TB, name string) (there bool) {
	t.Helper()
	err := l.Netns().Do(t.Context(), "", func() error {
		_, err := os.Stat("/proc/sys/net/ipv4/conf/" + name)
		there = err == nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}
