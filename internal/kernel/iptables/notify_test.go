package iptables

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/watch"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
	"github.com/linkspan/linkspan/internal/model"
)

// TestOwnChangesWakeNobody: what the backend's commands change is not taken for somebody
// else's doing, and what others change is.
func TestOwnChangesWakeNobody(t *testing.T) {
	n := newNamespace(t, xtables.NFT)
	b := n.open(Options{})
	resync(t, b, sampleRows()...)
	var w *watch.Watch
	if err := n.enter(func() (err error) {
		w, err = watch.Open(watch.Options{Own: b.Ports(), Tables: b.Tables(), Mine: b.Ran})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var heard atomic.Int64
	foreign := make(chan watch.Event, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- w.Run(func(e watch.Event) {
			if e.Table.Name == "" {
				return
			}
			heard.Add(1)
			select {
			case foreign <- e:
			default:
			}
		})
	}()
	one := desired.Delta{Owner: "test", New: publish(model.TCP, "0.0.0.0", 7777, 7777, "172.17.0.2", 77)}
	for range 50 {
		apply(t, b, one)
		apply(t, b, one.Invert())
	}
	own := heard.Load()
	n.iptables("iptables -A INPUT -j ACCEPT")
	for own == heard.Load() {
		select {
		case <-foreign:
		case <-time.After(10 * time.Second):
			t.Fatal("a rule of somebody else's is not heard")
		}
	}
	if own > 0 {
		t.Errorf("%d of 100 own changes were taken for others'", own)
	}
	w.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
