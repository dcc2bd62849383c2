// Package upstream asks name servers: in order, the next one as well when one has been
// silent for too long, over TCP what datagrams do not carry, each query from a socket
// and with an ID that were never used (RFC 5452).
//
//	Ask -> tries: server 1 over UDP, 2 over UDP, 1 again ... over TCP -> Answer
//	         |         \-> exchange: a socket of the pool, a message.Sent, its reply
//	         \-> health: who is slow, suspended, or asked in another style
//
// It keeps what it learns of servers, not what they say, and knows nothing of clients
// and networks. It trusts no packet: what it reads of one server, and how long it waits,
// is bounded; how many sockets a sandbox may have is its caller's share.
package upstream

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/resolver/message"
)

// Opener gives sockets inside network namespaces, which are named as in
// desired.Resolver; desired.HostNamespace is the engine's own.
type Opener interface {
	// Open returns count sockets of the namespace for a network, "udp4", "udp6",
	// "tcp4" or "tcp6", with neither port nor peer. The caller closes them.
	Open(ctx context.Context, namespace, network string, count int) ([]*os.File, error)
	// Connect gives such a socket a random port and its peer, before ctx's and
	// the socket's own deadline.
	Connect(ctx context.Context, socket *os.File, peer netip.AddrPort) error
}

// Patience is how long one name server may be silent before the next is asked as well.
const Patience = 1500 * time.Millisecond

// MaxServers is how many name servers a query is sent to. resolv.conf(5) allows
// three; these are for containers, which never see the list.
const MaxServers = 8

// Why nobody answered; see Client.Ask.
var (
	ErrFailed   = errors.New("no name server helped")
	ErrSilent   = errors.New("a name server did not answer in time")
	ErrNoSocket = errors.New("too many sockets")
)

// Client asks name servers. Its fields are set before it is used; New sets what has a
// default.
type Client struct {
	Opener   Opener
	Running  *sync.WaitGroup  // counts its goroutines
	Patience time.Duration    // with a server of which nothing is known
	Now      func() time.Time // says when answers came

	spare   atomic.Int64 // sockets in pools
	buffers sync.Pool    // of *buffer
}

// New returns a Client.
func New(opener Opener, running *sync.WaitGroup) *Client {
	return &Client{
		Opener:   opener,
		Running:  running,
		Patience: Patience,
		Now:      time.Now,
		buffers:  sync.Pool{New: func() any { return &buffer{} }},
	}
}

// Servers are name servers that are asked from one namespace, best first, and what was
// learned about them.
type Servers struct {
	Namespace string
	Addrs     []netip.Addr
	health    health
}

// Request is a question, and by whose means it is asked.
type Request struct {
	message.Question
	Servers *Servers
	Pool    *SocketPool   // of the servers' namespace
	Sockets *limits.Share // who the sockets are counted for
}

// Ask returns what name servers answer before ctx's deadline. The error is ErrSilent
// if a server may still answer such a question, ErrFailed if all have said no;
// ErrNoSocket, or ctx's if it was cancelled, says nothing about the servers.
func (u *Client) Ask(ctx context.Context, req Request) (*message.Answer, error) {
	r := newTries(u, req)
	a := r.tryFirst(ctx)
	if a == nil {
		a = r.tryOthers(ctx)
	}
	switch {
	case a != nil:
		return a, nil
	case r.noSocket:
		return nil, ErrNoSocket
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	case r.silence || ctx.Err() != nil || len(r.open) > 0:
		return nil, ErrSilent
	}
	return nil, ErrFailed
}
