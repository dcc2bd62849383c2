package main

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// patience is how long one connection may take.
const patience = 2 * time.Second

// Connections is what connect found.
type Connections struct {
	Made    int     `json:"made"`    // connections on which the greeting came
	Failed  int     `json:"failed"`  // others
	Seconds float64 `json:"seconds"` // how long it took
	P50     float64 `json:"p50"`     // microseconds until the greeting
	P99     float64 `json:"p99"`
}

// Ports is what fetch and bind found: the ports on which it went well.
type Ports struct {
	Good []uint16 `json:"good"`
	Why  string   `json:"why,omitempty"` // what the last one that did not go well said
}

// serve listens on the ports on all addresses and greets every connection with one byte: a proxy may accept before
// there is anybody behind it, so that an open connection alone proves nothing.
func serve(ctx context.Context, text string) error {
	ports, err := portList(text)
	if err != nil {
		return err
	}
	for _, port := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(int(port))))
		if err != nil {
			return err
		}
		defer l.Close()
		go accept(l)
	}
	<-ctx.Done()
	return nil
}

// accept serves until the listener is closed.
func accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the client is gone already
		}
		go greet(conn)
	}
}

// greet sends the byte and waits for the client to end the connection.
func greet(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte{'.'}); err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
}

// visit opens one connection, awaits the greeting, and resets it: an orderly end would leave the port in TIME_WAIT, and
// after 28 000 connections there would be none left to connect from.
func visit(ctx context.Context, address string) error {
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

// connect makes connections for the given time, some clients at once.
func connect(ctx context.Context, address string, length time.Duration, clients int) (Connections, error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	var report Connections
	var times []time.Duration
	begin := time.Now()
	for range clients {
		all.Go(func() {
			var mine []time.Duration
			failed := 0
			for at := time.Now(); at.Sub(begin) < length && ctx.Err() == nil; {
				err := visit(ctx, address)
				now := time.Now()
				if err == nil {
					mine = append(mine, now.Sub(at))
				} else {
					failed++
				}
				at = now
			}
			mu.Lock()
			defer mu.Unlock()
			times, report.Failed = append(times, mine...), report.Failed+failed
		})
	}
	all.Wait()
	report.Made, report.Seconds = len(times), time.Since(begin).Seconds()
	report.P50, report.P99 = percentiles(times)
	return report, ctx.Err()
}

// percentiles are the 50th and the 99th, in microseconds.
func percentiles(times []time.Duration) (p50, p99 float64) {
	if len(times) == 0 {
		return 0, 0
	}
	slices.Sort(times)
	at := func(share float64) float64 {
		return float64(times[int(share*float64(len(times)-1))].Nanoseconds()) / 1000
	}
	return at(0.5), at(0.99)
}

// fetch connects to each of the ports.
func fetch(ctx context.Context, host, text string) (Ports, error) {
	ports, err := portList(text)
	report := Ports{Good: []uint16{}}
	for _, port := range ports {
		if err := visit(ctx, net.JoinHostPort(host, strconv.Itoa(int(port)))); err != nil {
			report.Why = err.Error()
			continue
		}
		report.Good = append(report.Good, port)
	}
	return report, err
}

// bind tries to listen on each of the ports; good are those that were to be had.
func bind(protocol, host, text string) (Ports, error) {
	ports, err := portList(text)
	report := Ports{Good: []uint16{}}
	for _, port := range ports {
		if err := take(protocol, net.JoinHostPort(host, strconv.Itoa(int(port)))); err != nil {
			report.Why = err.Error()
			continue
		}
		report.Good = append(report.Good, port)
	}
	return report, err
}

// take binds and lets go again.
func take(protocol, address string) error {
	if protocol == "udp" {
		c, err := net.ListenPacket("udp", address)
		if err == nil {
			err = c.Close()
		}
		return err
	}
	l, err := net.Listen("tcp", address)
	if err == nil {
		err = l.Close()
	}
	return err
}
