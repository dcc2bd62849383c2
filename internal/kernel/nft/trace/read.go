package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/datatypes"
)

const (
	// readTimeout bounds the wait for the kernel where the caller has no deadline.
	readTimeout = 30 * time.Second
	// readAttempts is how often a ruleset is read that changes meanwhile.
	readAttempts = 10
	// maxElements is how many elements of one set are kept; a set that has more counts as
	// one that could not be read.
	maxElements = 1 << 20
)

// Attributes that golang.org/x/sys does not name (linux/netfilter/nf_tables.h).
const (
	nftaSetDesc         = 9
	nftaSetDescConcat   = 2
	nftaSetFieldLen     = 1
	nftaSetElemEnd      = 10
	nftaElemUserdata    = 6
	nftaTableUserdata   = 6
	nftSetConcat        = 0x80
	nftSetElemCatchAll  = 2
	nftaDataVerdict     = 2
	nftaVerdictCode     = 1
	nftaVerdictChain    = 2
	userdataRuleComment = 0
)

// Read returns the ruleset of the network namespace that the descriptor netns refers to, or
// of the current one if it is 0, of one moment. It has no tables where the kernel has no
// nf_tables.
func Read(ctx context.Context, netns int) (*Ruleset, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink socket: %w", err)
	}
	defer c.Close() //nolint:errcheck // nothing was written through it
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(readTimeout)
	}
	if err := c.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	r := reader{c}
	for range readAttempts {
		before, err := r.generation()
		if errors.Is(err, unix.EINVAL) { // nfnetlink knows no such subsystem
			return &Ruleset{}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("ask for the generation of the ruleset: %w", err)
		}
		rs, err := r.ruleset()
		after, errAfter := r.generation()
		switch {
		case before == after && errors.Join(err, errAfter) == nil:
			return rs, nil
		case before == after:
			return nil, fmt.Errorf("read the ruleset: %w", errors.Join(err, errAfter))
		}
	}
	return nil, errors.New("the ruleset changes faster than it can be read")
}

type reader struct{ conn *netlink.Conn }

// ask sends one request and calls visit with the attributes of each answer.
func (r reader) ask(kind uint16, flags netlink.HeaderFlags, family byte, attrs []netlink.Attribute, visit func(family byte, ad *netlink.AttributeDecoder) error) error {
	b, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return err
	}
	answers, err := r.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, b...),
	})
	if err != nil {
		return err
	}
	for _, m := range answers {
		if len(m.Data) < 4 {
			continue
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return err
		}
		ad.ByteOrder = binary.BigEndian
		if err := errors.Join(visit(m.Data[0], ad), ad.Err()); err != nil {
			return err
		}
	}
	return nil
}

func (r reader) dump(kind uint16, family byte, attrs []netlink.Attribute, visit func(family byte, ad *netlink.AttributeDecoder) error) error {
	return r.ask(kind, netlink.Dump, family, attrs, visit)
}

// generation is the number that changes with every transaction.
func (r reader) generation() (id uint32, err error) {
	err = r.ask(unix.NFT_MSG_GETGEN, 0, unix.AF_UNSPEC, nil, func(_ byte, ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				id = ad.Uint32()
			}
		}
		return nil
	})
	return id, err
}

func (r reader) ruleset() (*Ruleset, error) {
	rs := &Ruleset{}
	err := r.dump(unix.NFT_MSG_GETTABLE, unix.AF_UNSPEC, nil, func(family byte, ad *netlink.AttributeDecoder) error {
		t := &Table{Family: family, Sets: map[string]*Set{}}
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_TABLE_NAME:
				t.Name = ad.String()
			case nftaTableUserdata:
				t.Comment = comment(ad.Bytes())
			}
		}
		rs.Tables = append(rs.Tables, t)
		return nil
	})
	for _, t := range rs.Tables {
		err = errors.Join(err, r.chains(t), r.rules(t), r.sets(t))
	}
	return rs, err
}

func (r reader) chains(t *Table) error {
	return r.dump(unix.NFT_MSG_GETCHAIN, t.Family, nil, func(_ byte, ad *netlink.AttributeDecoder) error {
		c, table, base, policy := &Chain{}, "", &Base{}, uint32(1)
		hooked := false
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_CHAIN_TABLE:
				table = ad.String()
			case unix.NFTA_CHAIN_NAME:
				c.Name = ad.String()
			case unix.NFTA_CHAIN_TYPE:
				base.Type = ad.String()
			case unix.NFTA_CHAIN_POLICY:
				policy = ad.Uint32()
			case unix.NFTA_CHAIN_HOOK:
				hooked = true
				ad.Nested(base.readHook)
			}
		}
		if base.Drop = policy == 0; hooked {
			c.Base = base
		}
		if table == t.Name { // chains are not filtered by table
			t.Chains = append(t.Chains, c)
		}
		return nil
	})
}

func (b *Base) readHook(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_HOOK_HOOKNUM:
			b.Hook = ad.Uint32()
		case unix.NFTA_HOOK_PRIORITY:
			b.Priority = int32(ad.Uint32())
		}
	}
	return ad.Err()
}

func (r reader) rules(t *Table) error {
	filter := []netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(t.Name + "\x00")}}
	return r.dump(unix.NFT_MSG_GETRULE, t.Family, filter, func(_ byte, ad *netlink.AttributeDecoder) error {
		rule, chain, table := Rule{}, "", ""
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_RULE_TABLE:
				table = ad.String()
			case unix.NFTA_RULE_CHAIN:
				chain = ad.String()
			case unix.NFTA_RULE_HANDLE:
				rule.Handle = ad.Uint64()
			case unix.NFTA_RULE_USERDATA:
				rule.Comment = comment(ad.Bytes())
			case unix.NFTA_RULE_EXPRESSIONS:
				rule.Exprs, rule.Unknown = expressions(t.Family, ad.Bytes())
			}
		}
		if c := t.Chain(chain); c != nil && table == t.Name {
			c.Rules = append(c.Rules, rule)
		}
		return nil
	})
}

// comment finds the comment in user data that may be anyone's.
func comment(data []byte) string {
	for len(data) >= 2 && len(data) >= 2+int(data[1]) {
		value := data[2 : 2+int(data[1])]
		if data[0] == userdataRuleComment {
			for len(value) > 0 && value[len(value)-1] == 0 {
				value = value[:len(value)-1]
			}
			return string(value)
		}
		data = data[2+int(data[1]):]
	}
	return ""
}

func (r reader) sets(t *Table) error {
	filter := []netlink.Attribute{{Type: unix.NFTA_SET_TABLE, Data: []byte(t.Name + "\x00")}}
	err := r.dump(unix.NFT_MSG_GETSET, t.Family, filter, func(_ byte, ad *netlink.AttributeDecoder) error {
		s, flags, size, table := &Set{}, uint32(0), 0, ""
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_SET_TABLE:
				table = ad.String()
			case unix.NFTA_SET_NAME:
				s.Name = ad.String()
			case unix.NFTA_SET_KEY_TYPE:
				s.Types = types(ad.Uint32())
			case unix.NFTA_SET_KEY_LEN:
				size = int(ad.Uint32())
			case unix.NFTA_SET_FLAGS:
				flags = ad.Uint32()
			case nftaSetDesc:
				ad.Nested(s.readDescription)
			}
		}
		s.Interval = flags&unix.NFT_SET_INTERVAL != 0
		s.Anonymous = flags&unix.NFT_SET_ANONYMOUS != 0
		if len(s.Fields) < 2 || flags&nftSetConcat == 0 && s.Interval {
			s.Fields = []int{size}
		}
		if table == t.Name {
			t.Sets[s.Name] = s
		}
		return nil
	})
	for name, s := range t.Sets {
		if whole, errSet := r.elements(t, s); errSet != nil || !whole {
			delete(t.Sets, name) // rules that look into it are in doubt
		}
	}
	return err
}

// types are those of a concatenation's fields, of 6 bits each.
func types(magic uint32) (out []datatypes.Type) {
	for ; magic != 0; magic >>= 6 {
		out = append([]datatypes.Type{datatypes.Type(magic & 0x3f)}, out...)
	}
	return out
}

// readDescription finds the sizes of a concatenation's fields.
func (s *Set) readDescription(ad *netlink.AttributeDecoder) error {
	field := func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == nftaSetFieldLen {
				s.Fields = append(s.Fields, int(ad.Uint32()&63))
			}
		}
		return ad.Err()
	}
	for ad.Next() {
		if ad.Type() == nftaSetDescConcat {
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					list.Nested(field)
				}
				return list.Err()
			})
		}
	}
	return ad.Err()
}

// elements fills a set; whole is false if it has too many.
func (r reader) elements(t *Table, s *Set) (whole bool, err error) {
	var bounds []bound
	filter := []netlink.Attribute{
		{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: []byte(t.Name + "\x00")},
		{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: []byte(s.Name + "\x00")},
	}
	err = r.dump(unix.NFT_MSG_GETSETELEM, t.Family, filter, func(_ byte, ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				continue
			}
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() && len(bounds) <= maxElements {
					list.Nested(func(ad *netlink.AttributeDecoder) error {
						b, err := readElement(ad)
						bounds = append(bounds, b)
						return err
					})
				}
				return list.Err()
			})
		}
		return nil
	})
	if s.Interval && len(s.Fields) == 1 {
		s.Elements = ranges(bounds)
		return len(bounds) <= maxElements, err
	}
	for _, b := range bounds {
		s.Elements = append(s.Elements, b.Element)
	}
	return len(bounds) <= maxElements, err
}
