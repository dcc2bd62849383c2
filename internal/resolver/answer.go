package resolver

import (
	"bytes"
	"net/netip"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolver/message"
)

// answerTTL is how long clients may keep the address of a local name, in
// seconds; Docker's value.
const answerTTL = 600

// writer is a message.Writer with room for a cache key.
type writer struct {
	message.Writer
	key []byte
}

// answer replies to q from what is known here; false means that others are to
// be asked. The reply is valid until the writer's next.
func (t *table) answer(v *view, q *message.Query, w *writer) ([]byte, bool) {
	if q.Type == dns.TypeAXFR || q.Type == dns.TypeIXFR {
		return w.Status(&q.Client, dns.RcodeRefused), true // an answer may be many messages
	}
	if !q.Exact {
		return nil, false
	}
	if a, ok := message.ReverseAddr(q.Name()); ok {
		return t.answerReverse(v, q, w, a)
	}
	addrs, found := t.find(v, q.Name(), familyOf(q.Type))
	switch {
	case found == known && q.Class != dns.ClassINET: // without records, and nobody else's either
		return w.Status(&q.Client, dns.RcodeSuccess), true
	case found == known:
		return w.Addresses(&q.Client, addrs, answerTTL), true
	case found == dangling:
		return w.Status(&q.Client, dns.RcodeNameError), true
	case v.row.NDots > 0 && singleLabel(q):
		// The client goes on to its search domains; the bare name is not for
		// the world (Docker's rule).
		return w.Status(&q.Client, dns.RcodeSuccess), true
	}
	return nil, false
}

func (t *table) answerReverse(v *view, q *message.Query, w *writer, a netip.Addr) ([]byte, bool) {
	target := t.findReverse(v, a)
	switch {
	case target == nil:
		return nil, false
	case q.Type != dns.TypePTR || q.Class != dns.ClassINET:
		return w.Status(&q.Client, dns.RcodeSuccess), true
	}
	return w.Pointer(&q.Client, target, answerTTL), true
}

func familyOf(qtype uint16) model.Family {
	switch qtype {
	case dns.TypeA:
		return model.IPv4
	case dns.TypeAAAA:
		return model.IPv6
	}
	return 0
}

func singleLabel(q *message.Query) bool {
	return familyOf(q.Type) != 0 && len(q.Name()) > 0 && bytes.IndexByte(q.Name(), '.') < 0
}
