package nft

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/datatypes"
	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
)

// conn is a socket that reads our tables.
type conn struct{ *wire.Conn }

func dial(netns int) (*conn, error) {
	c, err := wire.Dial(netns)
	if err != nil {
		return nil, err
	}
	return &conn{c}, nil
}

// seenTable is one of our tables as the kernel has it.
type seenTable struct {
	comment string
	sets    map[string]*seenSet
	chains  map[string]*seenChain
}

type seenSet struct {
	key, data kind
	flags     uint32
	counted   bool
	broken    bool // holds intervals that do not add up
	elements  map[element]bool
}

// kind is what a set's keys or data are.
type kind struct{ magic, size uint32 }

func kindOf(types []datatype) kind { return kind{datatypes.Magic(types), datatypes.Length(types)} }

type seenChain struct {
	base   base
	policy uint32
	rules  []seenRule
}

type seenRule struct {
	userdata string
	exprs    []seenExpr
}

// seenExpr is an expression as it came; only comparison with a wanted one can
// say what it means.
type seenExpr struct {
	name string
	data []byte
}

const readAttempts = 10

// read returns the table as it is, nil if it is not there.
func (c *conn) read(ctx context.Context, t table) (*seenTable, error) {
	return c.steadily(ctx, t, c.readTable, c.readChains, c.readRules, c.readSets, c.readElements)
}

// readFrame is read without the elements of sets.
func (c *conn) readFrame(ctx context.Context, t table) (*seenTable, error) {
	return c.steadily(ctx, t, c.readTable, c.readChains, c.readRules, c.readSets)
}

type readStep func(context.Context, table, *seenTable) error

// steadily takes the steps, of which the first finds the table, and starts anew
// when someone changes the ruleset meanwhile.
func (c *conn) steadily(ctx context.Context, t table, steps ...readStep) (*seenTable, error) {
	var err error
	for range readAttempts {
		seen := &seenTable{}
		for _, step := range steps {
			if err = step(ctx, t, seen); err != nil || seen.chains == nil {
				break
			}
		}
		switch {
		case errors.Is(err, wire.ErrInterrupted):
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", t, err)
		case seen.chains == nil:
			return nil, nil
		default:
			return seen, nil
		}
	}
	return nil, fmt.Errorf("read %s: %w", t, err)
}

// readTable leaves seen empty if there is no such table.
func (c *conn) readTable(ctx context.Context, t table, seen *seenTable) error {
	return c.Dump(ctx, t.message(unix.NFT_MSG_GETTABLE, 0, nil), func(body []byte) error {
		var name, comment string
		err := decode(body, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_TABLE_NAME:
				name = ad.String()
			case nftaTableUserdata:
				comment = commentOf(ad.Bytes())
			}
		})
		if err == nil && name == t.name {
			*seen = seenTable{comment: comment, sets: map[string]*seenSet{}, chains: map[string]*seenChain{}}
		}
		return err
	})
}

func (c *conn) readChains(ctx context.Context, t table, seen *seenTable) error {
	return c.Dump(ctx, t.message(unix.NFT_MSG_GETCHAIN, 0, nil), func(body []byte) error {
		var tableName, name string
		ch := seenChain{policy: policyAccept}
		err := decode(body, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_CHAIN_TABLE:
				tableName = ad.String()
			case unix.NFTA_CHAIN_NAME:
				name = ad.String()
			case unix.NFTA_CHAIN_TYPE:
				ch.base.kind = ad.String()
			case unix.NFTA_CHAIN_POLICY:
				ch.policy = ad.Uint32()
			case unix.NFTA_CHAIN_HOOK:
				ad.Nested(func(hook *netlink.AttributeDecoder) error {
					return decodeEach(hook, func(hook *netlink.AttributeDecoder) {
						switch hook.Type() {
						case unix.NFTA_HOOK_HOOKNUM:
							ch.base.hook = hook.Uint32()
						case unix.NFTA_HOOK_PRIORITY:
							ch.base.priority = int32(hook.Uint32())
						}
					})
				})
			}
		})
		if err == nil && tableName == t.name { // kernels filter rules and sets by table, chains not
			seen.chains[name] = &ch
		}
		return err
	})
}

func (c *conn) readRules(ctx context.Context, t table, seen *seenTable) error {
	filter := wire.Attrs(nil).Str(unix.NFTA_RULE_TABLE, t.name)
	return c.Dump(ctx, t.message(unix.NFT_MSG_GETRULE, 0, filter), func(body []byte) error {
		var name string
		var r seenRule
		err := decode(body, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_RULE_CHAIN:
				name = ad.String()
			case unix.NFTA_RULE_USERDATA:
				r.userdata = string(ad.Bytes())
			case unix.NFTA_RULE_EXPRESSIONS:
				ad.Nested(func(list *netlink.AttributeDecoder) error {
					return decodeEach(list, func(list *netlink.AttributeDecoder) {
						list.Nested(func(e *netlink.AttributeDecoder) error {
							one, err := decodeExpr(e)
							r.exprs = append(r.exprs, one)
							return err
						})
					})
				})
			}
		})
		if ch := seen.chains[name]; ch != nil {
			ch.rules = append(ch.rules, r)
		}
		return err
	})
}

func decodeExpr(ad *netlink.AttributeDecoder) (seenExpr, error) {
	var e seenExpr
	err := decodeEach(ad, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.NFTA_EXPR_NAME:
			e.name = ad.String()
		case unix.NFTA_EXPR_DATA:
			e.data = ad.Bytes()
		}
	})
	return e, err
}

func (c *conn) readSets(ctx context.Context, t table, seen *seenTable) error {
	filter := wire.Attrs(nil).Str(unix.NFTA_SET_TABLE, t.name)
	return c.Dump(ctx, t.message(unix.NFT_MSG_GETSET, 0, filter), func(body []byte) error {
		var name string
		s := seenSet{elements: map[element]bool{}}
		err := decode(body, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_SET_NAME:
				name = ad.String()
			case unix.NFTA_SET_KEY_TYPE:
				s.key.magic = ad.Uint32()
			case unix.NFTA_SET_KEY_LEN:
				s.key.size = ad.Uint32()
			case unix.NFTA_SET_DATA_TYPE:
				s.data.magic = ad.Uint32()
			case unix.NFTA_SET_DATA_LEN:
				s.data.size = ad.Uint32()
			case nftaSetExpr:
				s.counted = isCounter(ad)
			case unix.NFTA_SET_FLAGS:
				s.flags = ad.Uint32()
			}
		})
		seen.sets[name] = &s
		return err
	})
}

func (c *conn) readElements(ctx context.Context, t table, seen *seenTable) error {
	for name, s := range seen.sets {
		if s.flags&unix.NFT_SET_ANONYMOUS != 0 {
			continue // part of somebody's rule
		}
		if err := c.readSet(ctx, t, name, s); err != nil {
			return err
		}
	}
	return nil
}

// seenElement is one element as the kernel has it: of plain intervals, one end.
type seenElement struct {
	element
	end            bool
	packets, bytes uint64 // of its counter
}

func (c *conn) readSet(ctx context.Context, t table, name string, s *seenSet) error {
	var bounds []seenElement
	err := c.eachElement(ctx, t, name, func(e seenElement) { bounds = append(bounds, e) })
	return cmp.Or(err, s.take(bounds))
}

// take keeps what a dump has brought. One that brings an element twice has left out
// another, and the kernel does not say so: a set's table grows some time after elements
// came, and a dump goes on by counting (nft_rhash_walk in net/netfilter/nft_set_hash.c).
func (s *seenSet) take(bounds []seenElement) error {
	switch {
	case s.flags&unix.NFT_SET_EVAL == 0 && repeats(bounds): // others change all the time
		return wire.ErrInterrupted
	case s.flags&unix.NFT_SET_INTERVAL != 0 && s.flags&setConcat == 0:
		s.pair(bounds)
	default:
		for _, b := range bounds {
			s.elements[b.element] = true
		}
	}
	return nil
}

// repeats tells whether an element is there twice, whatever it has counted.
func repeats(all []seenElement) bool {
	seen := make(map[seenElement]bool, len(all))
	for _, e := range all {
		e.packets, e.bytes = 0, 0
		seen[e] = true
	}
	return len(seen) < len(all)
}

// eachElement calls visit for everything in a set.
func (c *conn) eachElement(ctx context.Context, t table, name string, visit func(seenElement)) error {
	one := func(ad *netlink.AttributeDecoder) error {
		e, err := decodeElement(ad)
		e.set = name
		visit(e)
		return err
	}
	filter := wire.Attrs(nil).Str(unix.NFTA_SET_ELEM_LIST_TABLE, t.name).Str(unix.NFTA_SET_ELEM_LIST_SET, name)
	return c.Dump(ctx, t.message(unix.NFT_MSG_GETSETELEM, 0, filter), func(body []byte) error {
		return decode(body, func(ad *netlink.AttributeDecoder) {
			if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return
			}
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				return decodeEach(list, func(list *netlink.AttributeDecoder) { list.Nested(one) })
			})
		})
	})
}

func decodeElement(ad *netlink.AttributeDecoder) (e seenElement, err error) {
	err = decodeEach(ad, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.NFTA_SET_ELEM_FLAGS:
			e.end = ad.Uint32()&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_KEY:
			e.key = decodeValue(ad)
		case nftaSetElemEnd:
			e.last = decodeValue(ad)
		case unix.NFTA_SET_ELEM_DATA:
			e.data = decodeValue(ad)
		case unix.NFTA_SET_ELEM_EXPR:
			e.packets, e.bytes = decodeCounter(ad)
		}
	})
	return e, err
}

func decodeCounter(ad *netlink.AttributeDecoder) (packets, bytes uint64) {
	ad.Nested(func(outer *netlink.AttributeDecoder) error {
		return decodeEach(outer, func(outer *netlink.AttributeDecoder) {
			if outer.Type() != unix.NFTA_EXPR_DATA {
				return
			}
			outer.Nested(func(counter *netlink.AttributeDecoder) error {
				return decodeEach(counter, func(counter *netlink.AttributeDecoder) {
					switch counter.Type() {
					case unix.NFTA_COUNTER_PACKETS:
						packets = counter.Uint64()
					case unix.NFTA_COUNTER_BYTES:
						bytes = counter.Uint64()
					}
				})
			})
		})
	})
	return packets, bytes
}

// isCounter tells whether the expression that a set gives to its elements counts.
func isCounter(ad *netlink.AttributeDecoder) (yes bool) {
	ad.Nested(func(e *netlink.AttributeDecoder) error {
		found, err := decodeExpr(e)
		yes = found.name == counterName
		return err
	})
	return yes
}

// pair puts the two ends of intervals together. An interval without a second
// end goes up to the last address.
func (s *seenSet) pair(bounds []seenElement) {
	slices.SortFunc(bounds, func(a, b seenElement) int {
		if a.key == b.key && a.end != b.end { // one ends where the next starts
			if a.end {
				return -1
			}
			return 1
		}
		return strings.Compare(a.key, b.key)
	})
	for i := 0; i < len(bounds); i++ {
		e := bounds[i].element
		if bounds[i].end {
			// nft writes an end at zero before the first interval; it means nothing.
			s.broken = s.broken || strings.Trim(e.key, "\x00") != ""
			continue
		}
		if i+1 < len(bounds) && bounds[i+1].end {
			i++
			e.after = bounds[i].key
		}
		s.elements[e] = true
	}
}

func decodeValue(ad *netlink.AttributeDecoder) (v string) {
	ad.Nested(func(value *netlink.AttributeDecoder) error {
		return decodeEach(value, func(value *netlink.AttributeDecoder) { v = string(value.Bytes()) })
	})
	return v
}

// decode calls visit for each attribute in body, numbers in network byte order.
func decode(body []byte, visit func(*netlink.AttributeDecoder)) error {
	ad, err := netlink.NewAttributeDecoder(body)
	if err != nil {
		return fmt.Errorf("decode attributes: %w", err)
	}
	ad.ByteOrder = binary.BigEndian
	return decodeEach(ad, visit)
}

func decodeEach(ad *netlink.AttributeDecoder, visit func(*netlink.AttributeDecoder)) error {
	for ad.Next() {
		visit(ad)
	}
	return ad.Err()
}

// commentOf finds the comment in user data that may be anyone's.
func commentOf(data []byte) string {
	for len(data) >= 2 && len(data) >= 2+int(data[1]) {
		if userdata.Type(data[0]) == userdata.TypeComment {
			text, _ := userdata.GetString(data, userdata.TypeComment)
			return text
		}
		data = data[2+int(data[1]):]
	}
	return ""
}
