package nft

import (
	"fmt"

	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/datatypes"
	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
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

func (t table) message(kind, flags uint16, a wire.Attrs) wire.Message {
	return wire.Message{Kind: kind, Flags: flags, Family: t.family, Attrs: a, What: wire.Subject{Table: t.String()}}
}

func (t table) newTable() wire.Message {
	flags := uint32(0)
	if t.owned {
		flags = tableOwner
	}
	a := wire.Attrs(nil).Str(unix.NFTA_TABLE_NAME, t.name).U32(unix.NFTA_TABLE_FLAGS, flags)
	a = a.Bytes(nftaTableUserdata, commentData(t.comment))
	return t.message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, a)
}

func (t table) delTable() wire.Message {
	return t.message(unix.NFT_MSG_DELTABLE, 0, wire.Attrs(nil).Str(unix.NFTA_TABLE_NAME, t.name))
}

// newSet creates a set. id tells sets of one batch apart and means nothing
// afterwards.
func (t table) newSet(s set, id uint32) wire.Message {
	a := wire.Attrs(nil).Str(unix.NFTA_SET_TABLE, t.name).Str(unix.NFTA_SET_NAME, s.name)
	a = a.U32(unix.NFTA_SET_FLAGS, s.flags())
	a = a.U32(unix.NFTA_SET_KEY_TYPE, datatypes.Magic(s.key)).U32(unix.NFTA_SET_KEY_LEN, datatypes.Length(s.key))
	if s.data != nil {
		a = a.U32(unix.NFTA_SET_DATA_TYPE, datatypes.Magic(s.data)).U32(unix.NFTA_SET_DATA_LEN, datatypes.Length(s.data))
	}
	if s.ranged() {
		a = a.Nest(unix.NFTA_SET_DESC, wire.Attrs(nil).Nest(nftaDescConcat, fieldLengths(s.key)))
	}
	if s.learned { // without a size, the kernel adds none
		a = a.Nest(unix.NFTA_SET_DESC, wire.Attrs(nil).U32(unix.NFTA_SET_DESC_SIZE, maxLearned))
	}
	if s.counted { // each element gets a counter of its own, made after this one
		a = a.Nest(nftaSetExpr, wire.Attrs(nil).Str(unix.NFTA_EXPR_NAME, counterName).Nest(unix.NFTA_EXPR_DATA, nil))
	}
	a = a.U32(unix.NFTA_SET_ID, id)
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
	return t.message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, a.Bytes(unix.NFTA_SET_USERDATA, data)).About("set", s.name)
}

// fieldLengths say where the parts of a concatenation end, each a range of its
// own to the kernel.
func fieldLengths(types []datatype) (list wire.Attrs) {
	for _, t := range types {
		list = list.Nest(unix.NFTA_LIST_ELEM, wire.Attrs(nil).U32(nftaFieldLength, uint32(t.Size())))
	}
	return list
}

func (t table) delSet(name string) wire.Message {
	a := wire.Attrs(nil).Str(unix.NFTA_SET_TABLE, t.name).Str(unix.NFTA_SET_NAME, name)
	return t.message(unix.NFT_MSG_DELSET, 0, a).About("set", name)
}

func (t table) newChain(c chain) wire.Message {
	a := wire.Attrs(nil).Str(unix.NFTA_CHAIN_TABLE, t.name).Str(unix.NFTA_CHAIN_NAME, c.name)
	if c.base.kind != "" {
		hook := wire.Attrs(nil).U32(unix.NFTA_HOOK_HOOKNUM, c.base.hook)
		hook = hook.U32(unix.NFTA_HOOK_PRIORITY, uint32(c.base.priority))
		a = a.Nest(unix.NFTA_CHAIN_HOOK, hook)
		a = a.U32(unix.NFTA_CHAIN_POLICY, policyAccept).Str(unix.NFTA_CHAIN_TYPE, c.base.kind)
	}
	return t.message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, a).About("chain", c.name)
}

func (t table) delChain(name string) wire.Message {
	a := wire.Attrs(nil).Str(unix.NFTA_CHAIN_TABLE, t.name).Str(unix.NFTA_CHAIN_NAME, name)
	return t.message(unix.NFT_MSG_DELCHAIN, 0, a).About("chain", name)
}

func (t table) flushChain(name string) wire.Message {
	a := wire.Attrs(nil).Str(unix.NFTA_RULE_TABLE, t.name).Str(unix.NFTA_RULE_CHAIN, name)
	return t.message(unix.NFT_MSG_DELRULE, 0, a).About("chain", name)
}

func (t table) newRule(chain string, r rule) (wire.Message, error) {
	var list wire.Attrs
	for _, e := range r.exprs {
		b, err := marshal(t.family, e)
		if err != nil {
			return wire.Message{}, fmt.Errorf("rule %q: %w", r.comment, err)
		}
		list = list.Nest(unix.NFTA_LIST_ELEM, b)
	}
	a := wire.Attrs(nil).Str(unix.NFTA_RULE_TABLE, t.name).Str(unix.NFTA_RULE_CHAIN, chain)
	a = a.Nest(unix.NFTA_RULE_EXPRESSIONS, list)
	a = a.Bytes(unix.NFTA_RULE_USERDATA, commentData(r.comment))
	return t.message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, a).About("rule", r.comment), nil
}

// element is a message that adds (NFT_MSG_NEWSETELEM) or deletes
// (NFT_MSG_DELSETELEM) one element. Each travels in a message of its own, so
// that a refusal names it.
func (t table) element(kind uint16, e element) wire.Message {
	first := wire.Attrs(nil).Nest(unix.NFTA_SET_ELEM_KEY, value(e.key))
	if e.last != "" {
		first = first.Nest(nftaSetElemEnd, value(e.last))
	}
	if e.data != "" {
		first = first.Nest(unix.NFTA_SET_ELEM_DATA, value(e.data))
	}
	list := wire.Attrs(nil).Nest(unix.NFTA_LIST_ELEM, first)
	if e.after != "" {
		// To the kernel, such an interval is two elements, which it wants together.
		end := wire.Attrs(nil).U32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		list = list.Nest(unix.NFTA_LIST_ELEM, end.Nest(unix.NFTA_SET_ELEM_KEY, value(e.after)))
	}
	a := wire.Attrs(nil).Str(unix.NFTA_SET_ELEM_LIST_TABLE, t.name).Str(unix.NFTA_SET_ELEM_LIST_SET, e.set)
	a = a.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, list)
	var flags uint16
	if kind == unix.NFT_MSG_NEWSETELEM {
		flags = unix.NLM_F_CREATE
	}
	return t.message(kind, flags, a).About("element of set", e.set)
}

func value(v string) wire.Attrs { return wire.Attrs(nil).Bytes(unix.NFTA_DATA_VALUE, []byte(v)) }

// commentData is the user data in which nft looks for the comment of a rule or
// table; type 0 is the comment in both.
func commentData(s string) []byte {
	return userdata.AppendString(nil, userdata.TypeComment, clip(s))
}

func clip(s string) string { return s[:min(len(s), maxComment)] }
