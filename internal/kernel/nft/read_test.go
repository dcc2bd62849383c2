package nft

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// TestRepeatedElements: a dump that brings an element twice is taken again.
func TestRepeatedElements(t *testing.T) {
	one, other := seenElement{element: element{key: "a"}}, seenElement{element: element{key: "b"}, packets: 1}
	again := other
	again.packets = 2
	end := one
	end.end = true
	for _, c := range []struct {
		name   string
		flags  uint32
		bounds []seenElement
		want   error
	}{
		{"each once", 0, []seenElement{one, other}, nil},
		{"one twice", 0, []seenElement{one, other, again}, wire.ErrInterrupted},
		{"both ends of an interval", unix.NFT_SET_INTERVAL, []seenElement{one, end}, nil},
		{"packets add to it", unix.NFT_SET_EVAL, []seenElement{one, other, again}, nil},
	} {
		s := &seenSet{flags: c.flags, elements: map[element]bool{}}
		if err := s.take(c.bounds); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestEveryPolicyIsExpressed ranges over all types of rows: those of a Backend, and of a
// Balancer.
func TestEveryPolicyIsExpressed(t *testing.T) {
	for _, row := range desired.Types() {
		_, err := render(row)
		kind := row.Key().Kind
		if known, ours := model.KindOf(err) != model.NotImplemented, kind == desired.KindPolicy || kind == desired.KindBalance; known != ours {
			t.Errorf("%T: expressed is %t, want %t", row, known, ours)
		}
	}
}
