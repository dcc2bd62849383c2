package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	sockets    = 4   // askers, each with a socket of its own
	window     = 32  // questions an asker has under way when there is no rate
	maxMessage = 512 // RFC 1035, section 4.2.1
	headerSize = 12
	typeA      = 1
	classIN    = 1
	lossTime   = time.Second // what has no answer by then has none
)

// questions say what to ask.
type questions struct {
	server, name string
	length       time.Duration
	rate         int // per second, of all askers; 0: a new one for each answer
	unique       bool
}

// Answers is what came back.
type Answers struct {
	Asked   int     `json:"asked"`
	Good    int     `json:"good"` // answers that hold a record
	Bad     int     `json:"bad"`  // others: errors and empty ones
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50"` // microseconds from question to answer
	P99     float64 `json:"p99"`
}

// asker is one socket.
type asker struct {
	conn   *net.UDPConn
	raw    syscall.RawConn
	query  []byte
	unique bool

	next  uint32                // counts the questions; its lower half is the ID
	sent  [1 << 16]atomic.Int64 // when the question with this ID was asked, in nanoseconds since begin; 0: not, or answered
	begin time.Time
	buf   [maxMessage]byte

	asked, good, bad int
	times            []time.Duration
}

// ask asks with all askers at once.
func ask(ctx context.Context, q questions) (Answers, error) {
	var all sync.WaitGroup
	begin := time.Now()
	askers := make([]*asker, sockets)
	for i := range askers {
		a, err := newAsker(q, begin)
		if err != nil {
			return Answers{}, err
		}
		defer func() { _ = a.conn.Close() }()
		askers[i] = a
		all.Go(func() {
			if q.rate > 0 {
				a.pace(ctx, begin.Add(q.length), q.rate/sockets)
				return
			}
			a.flood(ctx, begin.Add(q.length))
		})
	}
	all.Wait()
	report := Answers{Seconds: q.length.Seconds()}
	var times []time.Duration
	for _, a := range askers {
		report.Asked, report.Good, report.Bad = report.Asked+a.asked, report.Good+a.good, report.Bad+a.bad
		times = append(times, a.times...)
	}
	report.P50, report.P99 = percentiles(times)
	return report, ctx.Err()
}

// newAsker opens a socket and writes the question.
func newAsker(q questions, begin time.Time) (*asker, error) {
	conn, err := net.Dial("udp", q.server)
	if err != nil {
		return nil, err
	}
	a := &asker{conn: conn.(*net.UDPConn), unique: q.unique, begin: begin, next: rand.Uint32()}
	if a.raw, err = a.conn.SyscallConn(); err != nil {
		return nil, err
	}
	if err := a.conn.SetReadBuffer(4 << 20); err != nil { // what we are too slow to read is not the server's loss
		return nil, errors.Join(err, a.conn.Close())
	}
	name := q.name
	if q.unique {
		name = "00000000." + name
	}
	a.query, err = question(name)
	return a, err
}

// question is a query for the A record of a name (RFC 1035, section 4.1).
func question(name string) ([]byte, error) {
	m := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0} // recursion desired, one question
	for _, label := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		if len(label) == 0 || len(label) > 63 {
			return nil, fmt.Errorf("name %q: label %q", name, label)
		}
		m = append(append(m, byte(len(label))), label...)
	}
	return append(m, 0, 0, typeA, 0, classIN), nil
}

// send asks one question more.
func (a *asker) send() error {
	a.next++
	binary.BigEndian.PutUint16(a.query, uint16(a.next))
	if a.unique {
		const digits = "0123456789abcdef"
		for i := range 8 {
			a.query[headerSize+1+i] = digits[a.next>>(4*i)&15]
		}
	}
	a.sent[uint16(a.next)].Store(int64(time.Since(a.begin)) | 1)
	_, err := a.conn.Write(a.query)
	a.asked++
	return err
}

// receive waits for at least one answer and reads all that are there, with one wait for all of them: a wait for each
// would cost more than the answer.
func (a *asker) receive(deadline time.Time) (n int, err error) {
	if err := a.conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	err = a.raw.Read(func(fd uintptr) bool {
		for {
			size, err := syscall.Read(int(fd), a.buf[:])
			if err != nil {
				return n > 0 || !errors.Is(err, syscall.EAGAIN)
			}
			if a.note(a.buf[:size]) {
				n++
			}
		}
	})
	return n, err
}

// note counts an answer. One that nobody waits for is none.
func (a *asker) note(m []byte) bool {
	if len(m) < headerSize {
		return false
	}
	at := a.sent[binary.BigEndian.Uint16(m)].Swap(0)
	if at == 0 {
		return false
	}
	if m[3]&15 != 0 || binary.BigEndian.Uint16(m[6:]) == 0 {
		a.bad++
		return true
	}
	a.good++
	a.times = append(a.times, time.Since(a.begin)-time.Duration(at))
	return true
}

// flood keeps a window of questions under way.
func (a *asker) flood(ctx context.Context, end time.Time) {
	under := 0
	for time.Now().Before(end) && ctx.Err() == nil {
		for ; under < window; under++ {
			if a.send() != nil {
				break // a full queue: what is under way goes on
			}
		}
		n, err := a.receive(time.Now().Add(lossTime))
		under -= n
		if err != nil {
			under = 0 // they are lost
		}
	}
}

// pace asks at a rate, whatever comes back.
func (a *asker) pace(ctx context.Context, end time.Time, rate int) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for time.Now().Before(end.Add(lossTime / 4)) {
			_, _ = a.receive(time.Now().Add(lossTime / 8))
		}
	}()
	begin := time.Now()
	for sent := 0; time.Now().Before(end) && ctx.Err() == nil; {
		for due := int(time.Since(begin).Seconds() * float64(rate)); sent < due; sent++ {
			_ = a.send() // what was not sent is not answered either
		}
		time.Sleep(time.Millisecond / 2)
	}
	<-done
}

// serveDNS answers on one socket. What it does not understand it drops.
func serveDNS(ctx context.Context, address string) error {
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	conn := pc.(*net.UDPConn)
	go func() { <-ctx.Done(); _ = conn.Close() }()
	_ = conn.SetReadBuffer(4 << 20)
	buf := make([]byte, maxMessage)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf[:cap(buf)])
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			continue
		}
		if reply := answer(buf[:n]); reply != nil {
			_, _ = conn.WriteToUDPAddrPort(reply, from) // the asker will ask again
		}
	}
}

// answer turns a query into its answer: 192.0.2.7 for the next minute, or no data for other types than A.
func answer(m []byte) []byte {
	if len(m) < headerSize || binary.BigEndian.Uint16(m[4:]) != 1 {
		return nil
	}
	end := headerSize
	for end < len(m) && m[end] != 0 {
		end += int(m[end]) + 1
	}
	if end += 5; end > len(m) {
		return nil
	}
	kind := binary.BigEndian.Uint16(m[end-4:])
	reply := append(make([]byte, 0, maxMessage), m[:end]...)
	reply[2], reply[3] = 0x80|m[2]&1, 0x80    // an answer; recursion desired as asked, and available
	copy(reply[6:], []byte{0, 0, 0, 0, 0, 0}) // no records yet
	if kind == typeA {
		reply[7] = 1
		reply = append(reply, 0xc0, headerSize, 0, typeA, 0, classIN, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7)
	}
	return reply
}
