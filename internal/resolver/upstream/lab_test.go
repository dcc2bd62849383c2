package upstream

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/resolver/message"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

func addrs(text ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range text {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// asker asks name servers from the host, as a sandbox would.
type asker struct {
	client  *Client
	servers *Servers
	pool    *SocketPool
	share   limits.Share
	time    time.Duration // for an answer
}

func asking(t *testing.T, o Opener, servers ...string) *asker {
	var running sync.WaitGroup
	a := &asker{client: New(o, &running), servers: &Servers{Addrs: addrs(servers...)}, time: 5 * time.Second}
	a.client.Patience = 50 * time.Millisecond
	a.pool = a.client.NewPool("")
	a.share = limits.Share{Pool: &limits.Pool{Max: 100, Least: 100}, Max: 100}
	t.Cleanup(func() {
		running.Wait()
		a.pool.Close()
		if n := a.share.Inside(); n != 0 {
			t.Errorf("%d sockets are still counted", n)
		}
	})
	return a
}

// ask returns the answer to a query, as its client gets it.
func (a *asker) ask(t *testing.T, m *dns.Msg) (*dns.Msg, error) {
	t.Helper()
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q message.Query
	if v := q.Parse(raw); v != message.Good {
		t.Fatalf("verdict %d", v)
	}
	q.Limit = message.MaxMessage
	ctx, cancel := context.WithTimeout(t.Context(), a.time)
	defer cancel()
	answer, err := a.client.Ask(ctx, Request{Question: q.Forward(), Servers: a.servers, Pool: a.pool, Sockets: &a.share})
	if err != nil {
		return nil, err
	}
	var w message.Writer
	var out dns.Msg
	if err := out.Unpack(w.Answer(&q.Client, answer, time.Now())); err != nil {
		t.Fatal(err)
	}
	return &out, nil
}

func (a *asker) send(t *testing.T, m *dns.Msg) *dns.Msg {
	t.Helper()
	r, err := a.ask(t, m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// brief asks for the TXT record of a name: the answer, or why there is none.
func (a *asker) brief(t *testing.T, name string) string {
	t.Helper()
	r, err := a.ask(t, new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT))
	if err != nil {
		return err.Error()
	}
	return upstreamtest.Brief(r)
}
