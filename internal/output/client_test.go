package output

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

func TestSlowClientsAreCutOffTogether(t *testing.T) {
	const patience = 300 * time.Millisecond
	o, out := newOutputs(t, Options{Patience: patience}), fifos(t)
	out.Log = ""
	open(t, o, out)
	reads := o.Follow(id, true, true)
	defer reads.Close()
	var slow []*Client
	for range 8 {
		c := o.Follow(id, true, true)
		defer c.Close()
		slow = append(slow, c)
	}
	w := writer(t, out.Pipes.Stdout)
	text := strings.Repeat("0123456789abcde\n", 6<<20/16)
	began := time.Now()
	go func() {
		io.WriteString(w, text)
		w.Close()
	}()
	got := 0
	for got < len(text) {
		_, data, err := reads.Next(within(t))
		if err != nil {
			t.Fatal(err)
		}
		got += len(data)
	}
	if took := time.Since(began); took > 8*patience {
		t.Errorf("the container was held for %v", took)
	}
	for _, c := range slow {
		if text, err := everything(within(t), c); model.KindOf(err) != model.Unavailable || err.Error() != "output was not read fast enough" || len(text) != 0 {
			t.Errorf("slow client: %d streams, %v", len(text), err)
		}
	}
}

func TestQueueIsBounded(t *testing.T) {
	c := newClient(true, true)
	p := piece{stdoutName, make([]byte, 64<<10)}
	n := 0
	for c.push(p, queueSize) == nil {
		n++
	}
	if c.size > queueSize || n < 20 {
		t.Errorf("%d pieces, %d bytes", n, c.size)
	}
	room := c.push(p, queueSize)
	if _, _, err := c.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-room:
	default:
		t.Error("who waits for room is not told")
	}
	small := newClient(true, true)
	for n = 0; small.push(piece{stdoutName, []byte("x")}, queueSize) == nil; n++ {
	}
	if n > queueSize/pieceCost {
		t.Errorf("%d small pieces", n)
	}
}

func TestEndComesAfterTheQueue(t *testing.T) {
	c := newClient(true, true)
	c.push(piece{stdoutName, []byte("a")}, queueSize)
	c.end(io.EOF)
	c.push(piece{stdoutName, []byte("too late")}, noLimit)
	if got, err := everything(t.Context(), c); !errors.Is(err, io.EOF) || got[stdoutName] != "a" {
		t.Errorf("got %q %v", got, err)
	}
}

func TestClientThatLeavesIsNotWaitedFor(t *testing.T) {
	o, out := newOutputs(t, Options{Patience: time.Hour}), fifos(t)
	out.Log = ""
	open(t, o, out)
	stuck := o.Follow(id, true, true)
	w := writer(t, out.Pipes.Stdout)
	done := make(chan error, 1)
	go func() {
		_, err := w.Write(make([]byte, 4<<20))
		done <- err
	}()
	eventually(t, "the queue is full", func() bool {
		stuck.mu.Lock()
		defer stuck.mu.Unlock()
		return stuck.room != nil
	})
	stuck.Close()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-within(t).Done():
		t.Error("the container is held up by a client that is gone")
	}
}
