package portsocket

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/model"
)

// MaxRange is how many ports a range may have to get a socket for each. A socket
// costs the kernel some 3 KiB, and a descriptor.
const MaxRange = 1024

// filesOfSockets is what the sockets take of the descriptors that the process may have
// at most: one part in so many.
const filesOfSockets = 2

// Table holds the sockets of a host. Whoever calls its methods, or uses what is said
// to be guarded by it, has its lock. It is made by NewTable.
type Table struct {
	sync.Mutex // orders all that is done to reservations and proxies

	// Most returns how many sockets there may be.
	Most func() int64

	sockets    map[Endpoint]*Socket
	adopted    map[Endpoint]*os.File // nobody has asked for these yet
	closed     bool
	handedOver bool // another process's to use
}

// NewTable returns a table that is empty.
func NewTable() *Table {
	return &Table{
		Most: limits.OneIn(filesOfSockets), sockets: map[Endpoint]*Socket{}, adopted: map[Endpoint]*os.File{},
	}
}

// Err returns the refusal of whoever wants to use a table that is closed, or handed
// over and not adopted again; nil for any other.
func (t *Table) Err() error {
	if t.closed || t.handedOver {
		return &model.Error{Op: "forward.apply", Kind: model.Unavailable, Err: errors.New("forwarder is closed")}
	}
	return nil
}

// Len returns how many sockets there are.
func (t *Table) Len() int { return len(t.sockets) }

// All yields the sockets, in no order.
func (t *Table) All() iter.Seq[*Socket] { return maps.Values(t.sockets) }

// Find returns the socket at an endpoint; nil if there is none.
func (t *Table) Find(e Endpoint) *Socket { return t.sockets[e] }

// Open returns the socket at an endpoint: the one there is, an adopted one or a new
// one. It returns ErrUnsupported if the kernel has no such sockets.
func (t *Table) Open(e Endpoint) (*Socket, error) {
	if sock := t.sockets[e]; sock != nil {
		return sock, nil
	}
	file := t.adopted[e]
	if delete(t.adopted, e); file == nil {
		if most := t.Most(); int64(len(t.sockets)) >= most {
			return nil, fmt.Errorf("%d host ports are held, each by a descriptor, and no more than half of the %d that there are may be taken so: "+
				"a range of more than %d ports takes none", len(t.sockets), 2*most, MaxRange)
		}
		var err error
		if file, err = bind(e); err != nil {
			return nil, err
		}
	}
	sock, err := wrap(e, file)
	if err != nil {
		return nil, err
	}
	t.sockets[e] = sock
	return sock, nil
}

// CloseUnused closes a socket that neither a reservation nor the proxy needs, and
// tells whether it is closed.
func (t *Table) CloseUnused(sock *Socket) bool {
	if t.sockets[sock.Endpoint] != sock {
		return true
	}
	if sock.Reserved || sock.Proxied {
		return false
	}
	delete(t.sockets, sock.Endpoint)
	if sock.BeforeClose != nil {
		sock.BeforeClose()
	}
	sock.Close()
	return true
}

// Broken returns the sockets to which nothing comes any more, in the order of their
// names.
func (t *Table) Broken() []*Socket {
	var out []*Socket
	for _, sock := range t.sockets {
		if !sock.whole() {
			out = append(out, sock)
		}
	}
	slices.SortFunc(out, func(a, b *Socket) int { return cmp.Compare(a.String(), b.String()) })
	return out
}

// Close makes the table refuse everybody, and closes what nobody has asked for. It
// may be called more than once.
func (t *Table) Close() {
	t.closed = true
	t.CloseAdopted()
}

// Handed is a socket on its way to another process. Who holds it closes the File.
type Handed struct {
	// Name says what the socket is: "tcp [::]:80" holds a port. Others are the
	// proxy's.
	Name string
	File *os.File
}

// HandOver gives away every socket, and makes the table refuse everybody until Adopt.
// One that is broken is closed: the successor opens another.
func (t *Table) HandOver() []Handed {
	t.handedOver = true
	var out []Handed
	for e, sock := range t.sockets {
		if sock.Broken.Load() {
			_ = sock.file.Close() // nothing was written through it
			continue
		}
		out = append(out, Handed{e.String(), sock.file})
	}
	// Nobody asked for these here; perhaps there.
	for e, file := range t.adopted {
		out = append(out, Handed{e.String(), file})
	}
	clear(t.sockets)
	clear(t.adopted)
	return out
}

// Adopt takes on sockets that another process has handed over, or this one if nobody
// took them; Open finds them. It returns those that hold no port, which are the
// proxy's. A table that is closed closes them all, and returns Err.
func (t *Table) Adopt(handed []Handed) (others []Handed, err error) {
	if t.closed {
		for _, h := range handed {
			_ = h.File.Close() // nothing was written through it
		}
		return nil, t.Err()
	}
	t.handedOver = false
	for _, h := range handed {
		e, err := ParseEndpoint(h.Name)
		if err != nil {
			others = append(others, h)
			continue
		}
		if twin := t.adopted[e]; twin != nil {
			_ = twin.Close() // nothing was written through it
		}
		t.adopted[e] = h.File
	}
	return others, nil
}

// CloseAdopted closes what was adopted and nobody has asked for.
func (t *Table) CloseAdopted() {
	for _, file := range t.adopted {
		_ = file.Close() // nothing was written through it
	}
	clear(t.adopted)
}

// ParseEndpoint reads what Endpoint.String returns.
func ParseEndpoint(text string) (Endpoint, error) {
	protocol, address, _ := strings.Cut(text, " ")
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return Endpoint{}, err
	}
	switch p := model.Protocol(protocol); p {
	case model.TCP, model.UDP, model.SCTP:
		return Endpoint{p, at.Addr(), at.Port()}, nil
	}
	return Endpoint{}, fmt.Errorf("%q is of an unknown protocol", text)
}
