package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/datatypes"
)

// Numbers that x/sys/unix does not name, from the kernel's
// include/uapi/linux/netfilter/nf_tables.h and netfilter.h.
const (
	nftaTableUserdata = 6
	nftaSetExpr       = 17
	nftaSetElemEnd    = 10   // NFTA_SET_ELEM_KEY_END
	nftaDescConcat    = 2    // NFTA_SET_DESC_CONCAT
	nftaFieldLength   = 1    // NFTA_SET_FIELD_LEN
	setConcat         = 0x80 // NFT_SET_CONCAT
	policyAccept      = 1    // NF_ACCEPT
	maxComment        = 127  // bytes; nft refuses to print more
)

// counterName is the expression that counts, in rules and elements.
const counterName = "counter"

// attrs is a run of netlink attributes, each padded to four bytes.
type attrs []byte

func (a attrs) bytes(typ uint16, v []byte) attrs {
	a = binary.NativeEndian.AppendUint16(a, uint16(4+len(v)))
	a = binary.NativeEndian.AppendUint16(a, typ)
	a = append(a, v...)
	return append(a, make([]byte, align(len(v))-len(v))...)
}

func (a attrs) nest(typ uint16, inner attrs) attrs { return a.bytes(typ|unix.NLA_F_NESTED, inner) }

func (a attrs) str(typ uint16, s string) attrs { return a.bytes(typ, append([]byte(s), 0)) }

func (a attrs) u32(typ uint16, v uint32) attrs {
	return a.bytes(typ, binary.BigEndian.AppendUint32(nil, v))
}

func (t table) message(kind, flags uint16, a attrs) message {
	return message{kind: kind, flags: flags, family: t.family, attrs: a, what: subject{table: t.String()}}
}

// about says what in the table a message is about.
func (m message) about(what, name string) message {
	m.what.kind, m.what.name = what, name
	return m
}

func (t table) newTable() message {
	flags := uint32(0)
	if t.owned {
		flags = tableOwner
	}
	a := attrs(nil).str(unix.NFTA_TABLE_NAME, t.name).u32(unix.NFTA_TABLE_FLAGS, flags)
	a = a.bytes(nftaTableUserdata, commentData(t.comment))
	return t.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, a)
}

func (t table) delTable() message {
	return t.message(unix.NFT_MSG_DELTABLE, 0, attrs(nil).str(unix.NFTA_TABLE_NAME, t.name))
}

// newSet creates a set. id tells sets of one batch apart and means nothing
// afterwards.
func (t table) newSet(s set, id uint32) message {
	a := attrs(nil).str(unix.NFTA_SET_TABLE, t.name).str(unix.NFTA_SET_NAME, s.name)
	a = a.u32(unix.NFTA_SET_FLAGS, s.flags())
	a = a.u32(unix.NFTA_SET_KEY_TYPE, datatypes.Magic(s.key)).u32(unix.NFTA_SET_KEY_LEN, datatypes.Length(s.key))
	if s.data != nil {
		a = a.u32(unix.NFTA_SET_DATA_TYPE, datatypes.Magic(s.data)).u32(unix.NFTA_SET_DATA_LEN, datatypes.Length(s.data))
	}
	if s.ranged() {
		a = a.nest(unix.NFTA_SET_DESC, attrs(nil).nest(nftaDescConcat, fieldLengths(s.key)))
	}
	if s.learned { // without a size, the kernel adds none
		a = a.nest(unix.NFTA_SET_DESC, attrs(nil).u32(unix.NFTA_SET_DESC_SIZE, maxLearned))
	}
	if s.counted { // each element gets a counter of its own, made after this one
		a = a.nest(nftaSetExpr, attrs(nil).str(unix.NFTA_EXPR_NAME, counterName).nest(unix.NFTA_EXPR_DATA, nil))
	}
	a = a.u32(unix.NFTA_SET_ID, id)
	// nft needs the byte order to print elements: interface names count as
	// host order, addresses as network order.
	order := uint32(2)
	if s.key[0] == typeIfname {
		order = 1
	}
	data := userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, order)
	if s.data != nil { // addresses and ports: network order
		data = userdata.AppendUint32(data, userdata.NFTNL_UDATA_SET_DATABYTEORDER, 2)
	}
	data = userdata.AppendString(data, userdata.NFTNL_UDATA_SET_COMMENT, clip(s.comment))
	return t.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, a.bytes(unix.NFTA_SET_USERDATA, data)).about("set", s.name)
}

// fieldLengths say where the parts of a concatenation end, each a range of its
// own to the kernel.
func fieldLengths(types []datatype) (list attrs) {
	for _, t := range types {
		list = list.nest(unix.NFTA_LIST_ELEM, attrs(nil).u32(nftaFieldLength, uint32(t.Size())))
	}
	return list
}

func (t table) delSet(name string) message {
	a := attrs(nil).str(unix.NFTA_SET_TABLE, t.name).str(unix.NFTA_SET_NAME, name)
	return t.message(unix.NFT_MSG_DELSET, 0, a).about("set", name)
}

func (t table) newChain(c chain) message {
	a := attrs(nil).str(unix.NFTA_CHAIN_TABLE, t.name).str(unix.NFTA_CHAIN_NAME, c.name)
	if c.base.kind != "" {
		hook := attrs(nil).u32(unix.NFTA_HOOK_HOOKNUM, c.base.hook)
		hook = hook.u32(unix.NFTA_HOOK_PRIORITY, uint32(c.base.priority))
		a = a.nest(unix.NFTA_CHAIN_HOOK, hook)
		a = a.u32(unix.NFTA_CHAIN_POLICY, policyAccept).str(unix.NFTA_CHAIN_TYPE, c.base.kind)
	}
	return t.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, a).about("chain", c.name)
}

func (t table) delChain(name string) message {
	a := attrs(nil).str(unix.NFTA_CHAIN_TABLE, t.name).str(unix.NFTA_CHAIN_NAME, name)
	return t.message(unix.NFT_MSG_DELCHAIN, 0, a).about("chain", name)
}

func (t table) flushChain(name string) message {
	a := attrs(nil).str(unix.NFTA_RULE_TABLE, t.name).str(unix.NFTA_RULE_CHAIN, name)
	return t.message(unix.NFT_MSG_DELRULE, 0, a).about("chain", name)
}

func (t table) newRule(chain string, r rule) (message, error) {
	var list attrs
	for _, e := range r.exprs {
		b, err := marshal(t.family, e)
		if err != nil {
			return message{}, fmt.Errorf("rule %q: %w", r.comment, err)
		}
		list = list.nest(unix.NFTA_LIST_ELEM, b)
	}
	a := attrs(nil).str(unix.NFTA_RULE_TABLE, t.name).str(unix.NFTA_RULE_CHAIN, chain)
	a = a.nest(unix.NFTA_RULE_EXPRESSIONS, list)
	a = a.bytes(unix.NFTA_RULE_USERDATA, commentData(r.comment))
	return t.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, a).about("rule", r.comment), nil
}

// element is a message that adds (NFT_MSG_NEWSETELEM) or deletes
// (NFT_MSG_DELSETELEM) one element. Each travels in a message of its own, so
// that a refusal names it.
func (t table) element(kind uint16, e element) message {
	first := attrs(nil).nest(unix.NFTA_SET_ELEM_KEY, value(e.key))
	if e.last != "" {
		first = first.nest(nftaSetElemEnd, value(e.last))
	}
	if e.data != "" {
		first = first.nest(unix.NFTA_SET_ELEM_DATA, value(e.data))
	}
	list := attrs(nil).nest(unix.NFTA_LIST_ELEM, first)
	if e.after != "" {
		// To the kernel, such an interval is two elements, which it wants together.
		end := attrs(nil).u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		list = list.nest(unix.NFTA_LIST_ELEM, end.nest(unix.NFTA_SET_ELEM_KEY, value(e.after)))
	}
	a := attrs(nil).str(unix.NFTA_SET_ELEM_LIST_TABLE, t.name).str(unix.NFTA_SET_ELEM_LIST_SET, e.set)
	a = a.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, list)
	var flags uint16
	if kind == unix.NFT_MSG_NEWSETELEM {
		flags = unix.NLM_F_CREATE
	}
	return t.message(kind, flags, a).about("element of set", e.set)
}

func value(v string) attrs { return attrs(nil).bytes(unix.NFTA_DATA_VALUE, []byte(v)) }

// commentData is the user data in which nft looks for the comment of a rule or
// table; type 0 is the comment in both.
func commentData(s string) []byte {
	return userdata.AppendString(nil, userdata.TypeComment, clip(s))
}

func clip(s string) string { return s[:min(len(s), maxComment)] }
