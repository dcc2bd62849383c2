package resolver

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/resolver/message"
)

// TestBatches sends replies of several lengths to several clients through one
// batchConn and expects each datagram where it belongs, whole and in order: also where
// the kernel refuses packets that carry several of them.
func TestBatches(t *testing.T) {
	for _, refused := range []bool{false, true} {
		t.Run(fmt.Sprint("refused=", refused), func(t *testing.T) {
			conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if refused {
				withoutChecksums(t, conn)
			}
			p, err := newBatchConn(conn, &sync.Pool{New: func() any { return newBatch() }})
			if err != nil {
				t.Fatal(err)
			}
			var clients [2]*net.UDPConn
			for i := range clients {
				if clients[i], err = net.DialUDP("udp4", nil, conn.LocalAddr().(*net.UDPAddr)); err != nil {
					t.Fatal(err)
				}
				defer clients[i].Close()
			}
			// The reply to "c n" from client c is "c n" and so many dots.
			sizes := []int{10, 10, 10, 600, 600, 9, 10, 2000, 2000, 2000}
			who := []int{0, 0, 1, 1, 1, 0, 0, 0, 0, 1}
			const rounds = 5
			var want [2][]string
			for n := range rounds * len(sizes) {
				c := who[n%len(who)]
				text := fmt.Sprintf("%d %03d", c, n)
				if _, err := clients[c].Write([]byte(text)); err != nil {
					t.Fatal(err)
				}
				want[c] = append(want[c], text+string(bytes.Repeat([]byte{'.'}, sizes[n%len(sizes)])))
			}
			answerAll(t, p, conn, rounds*len(sizes), sizes)
			for c, texts := range want {
				for _, text := range texts {
					buf := make([]byte, message.MaxMessage)
					clients[c].SetReadDeadline(time.Now().Add(5 * time.Second))
					n, err := clients[c].Read(buf)
					if err != nil || string(buf[:n]) != text {
						t.Fatalf("client %d got %.20q (%d bytes), %v; want %.20q (%d bytes)", c, buf[:n], n, err, text, len(text))
					}
				}
			}
			if p.noSegments != refused {
				t.Errorf("replies go apart: %t", p.noSegments)
			}
		})
	}
}

func answerAll(t *testing.T, p *batchConn, conn *net.UDPConn, total int, sizes []int) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	for done := 0; done < total; {
		b, err := p.receive()
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.count {
			if from := b.from(i); from.Addr().String() != "127.0.0.1" || from.Port() == 0 {
				t.Errorf("from %s", from)
			}
			var n int
			fmt.Sscanf(string(b.message(i)[2:]), "%d", &n)
			reply := append(bytes.Clone(b.message(i)), bytes.Repeat([]byte{'.'}, sizes[n%len(sizes)])...)
			b.reply(i, reply, !p.noSegments)
		}
		done += b.count
		p.send()
		p.release()
	}
}

// withoutChecksums makes the kernel refuse to cut packets of the socket.
func withoutChecksums(t *testing.T, conn *net.UDPConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	}); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

// TestLongDatagramsAreNoQueries: what is longer than any query gets no answer,
// and the next does.
func TestLongDatagramsAreNoQueries(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p, err := newBatchConn(conn, &sync.Pool{New: func() any { return newBatch() }})
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.DialUDP("udp4", nil, conn.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, size := range []int{message.MaxQuery + 1, 60000, message.MaxQuery, 0} {
		if _, err := client.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	var got []int
	for len(got) < 4 {
		b, err := p.receive()
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.count {
			if m := b.message(i); m == nil {
				got = append(got, -1)
			} else {
				got = append(got, len(m))
			}
		}
		p.release()
	}
	if fmt.Sprint(got) != fmt.Sprint([]int{-1, -1, message.MaxQuery, 0}) {
		t.Errorf("got %v", got)
	}
}
