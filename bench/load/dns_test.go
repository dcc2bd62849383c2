package main

import (
	"encoding/binary"
	"testing"
	"time"
)

func TestAnswerIsToTheQuestion(t *testing.T) {
	q, err := question("world.example.test")
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint16(q, 4711)
	reply := answer(q)
	if len(reply) < len(q) || binary.BigEndian.Uint16(reply) != 4711 || string(reply[headerSize:len(q)]) != string(q[headerSize:]) {
		t.Fatalf("answer %x to %x", reply, q)
	}
	a := asker{begin: time.Now()}
	if a.note(reply) {
		t.Error("an answer was counted that nobody waits for")
	}
	a.sent[4711].Store(1)
	if !a.note(reply) || a.good != 1 || a.bad != 0 {
		t.Errorf("good %d, bad %d", a.good, a.bad)
	}
	q[len(q)-3] = 28 // AAAA
	a.sent[4711].Store(1)
	if !a.note(answer(q)) || a.bad != 1 {
		t.Errorf("an answer without a record: bad %d", a.bad)
	}
}

func FuzzAnswer(f *testing.F) {
	q, _ := question("a.test")
	f.Add(q)
	f.Add(q[:headerSize+3])
	f.Fuzz(func(t *testing.T, m []byte) {
		if len(m) > maxMessage {
			return
		}
		if reply := answer(m); reply != nil && (len(reply) < headerSize || reply[2]&0x80 == 0) {
			t.Errorf("answer %x to %x", reply, m)
		}
	})
}

func TestPercentiles(t *testing.T) {
	var times []time.Duration
	for i := range 101 {
		times = append(times, time.Duration(100-i)*time.Microsecond)
	}
	if p50, p99 := percentiles(times); p50 != 50 || p99 != 99 {
		t.Errorf("p50 %v, p99 %v", p50, p99)
	}
	if p50, p99 := percentiles(nil); p50 != 0 || p99 != 0 {
		t.Errorf("of nothing: p50 %v, p99 %v", p50, p99)
	}
}
