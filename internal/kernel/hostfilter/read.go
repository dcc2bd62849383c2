package hostfilter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// readAttempts bounds how often rules are read that change meanwhile.
const readAttempts = 10

var errInterrupted = errors.New("rules changed while they were read")

// read returns what is there of ours. A table without a chain FORWARD that packets
// go through is somebody's who filters otherwise: it has only what is ours.
func (n *native) read(ctx context.Context) (s seen, err error) {
	var base bool
	if s.forward, base, err = n.chain(ctx, forwardChain); err != nil {
		return s, err
	}
	if s.forward && !base {
		return s, fmt.Errorf("chain %s: no base chain of the hook forward", forwardChain)
	}
	if s.user, _, err = n.chain(ctx, UserChain); err != nil {
		return s, err
	}
	if s.own, _, err = n.chain(ctx, OwnChain); err != nil {
		return s, err
	}
	if s.forward {
		if s.rules, err = n.rules(ctx, forwardChain); err != nil {
			return s, err
		}
	}
	if s.own {
		s.accepts, err = n.rules(ctx, OwnChain)
	}
	return s, err
}

// chain tells whether there is a chain, and whether it is one of the hook forward.
func (n *native) chain(ctx context.Context, name string) (there, base bool, err error) {
	answer, err := n.ask(ctx, unix.NFT_MSG_GETCHAIN, 0, func(a *netlink.AttributeEncoder) {
		a.String(unix.NFTA_CHAIN_TABLE, filterTable)
		a.String(unix.NFTA_CHAIN_NAME, name)
	})
	if errors.Is(err, unix.ENOENT) {
		return false, false, nil
	}
	for _, m := range answer {
		err = errors.Join(err, each(m, func(ad *netlink.AttributeDecoder) {
			if ad.Type() == unix.NFTA_CHAIN_HOOK {
				within(ad, func(ad *netlink.AttributeDecoder) {
					base = base || ad.Type() == unix.NFTA_HOOK_HOOKNUM && ad.Uint32() == unix.NF_INET_FORWARD
				})
			}
		}))
	}
	return err == nil, base, err
}

// rules returns all rules of a chain, in order.
func (n *native) rules(ctx context.Context, chain string) (out []rule, err error) {
	for range readAttempts {
		if out, err = n.rulesOnce(ctx, chain); !errors.Is(err, errInterrupted) {
			break
		}
	}
	return out, err
}

func (n *native) rulesOnce(ctx context.Context, chain string) (out []rule, err error) {
	answer, err := n.ask(ctx, unix.NFT_MSG_GETRULE, netlink.Dump, func(a *netlink.AttributeEncoder) {
		a.String(unix.NFTA_RULE_TABLE, filterTable)
		a.String(unix.NFTA_RULE_CHAIN, chain)
	})
	for _, m := range answer {
		if m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
			return nil, errInterrupted
		}
		r, of, failed := decodeRule(m)
		err = errors.Join(err, failed)
		if of == chain { // kernels before 4.10 filter nothing
			out = append(out, r)
		}
	}
	return out, err
}

// ask sends one request about the table, on a socket of its own.
func (n *native) ask(ctx context.Context, kind uint16, flags netlink.HeaderFlags, attributes func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: n.netns})
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink socket: %w", err)
	}
	defer conn.Close() //nolint:errcheck // nothing was written through it
	if err := prepare(ctx, conn); err != nil {
		return nil, err
	}
	a := netlink.NewAttributeEncoder()
	attributes(a)
	body, err := a.Encode()
	if err != nil {
		return nil, err
	}
	return conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{n.family, unix.NFNETLINK_V0, 0, 0}, body...),
	})
}

// decodeRule reads a rule, and the name of its chain.
func decodeRule(m netlink.Message) (r rule, chain string, err error) {
	var last load
	err = each(m, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.NFTA_RULE_CHAIN:
			chain = ad.String()
		case unix.NFTA_RULE_HANDLE:
			r.handle = ad.Uint64()
		case unix.NFTA_RULE_EXPRESSIONS:
			within(ad, func(ad *netlink.AttributeDecoder) {
				e := expression{}
				within(ad, e.decode)
				r.take(e, &last)
			})
		}
	})
	return r, chain, err
}

// load is which interface's name is in the register.
type load int

const (
	loadNothing load = iota
	loadIn
	loadOut
)

// take adds to a rule what an expression says.
func (r *rule) take(e expression, last *load) {
	switch {
	case e.name == "counter":
	case e.name == "meta" && e.key == unix.NFT_META_IIFNAME:
		*last = loadIn
	case e.name == "meta" && e.key == unix.NFT_META_OIFNAME:
		*last = loadOut
	case e.name == "cmp" && e.op == unix.NFT_CMP_EQ && *last == loadIn && r.in == "" && nameOf(e.data) != "":
		r.in, *last = nameOf(e.data), loadNothing
	case e.name == "cmp" && e.op == unix.NFT_CMP_EQ && *last == loadOut && r.out == "" && nameOf(e.data) != "":
		r.out, *last = nameOf(e.data), loadNothing
	case e.name == "immediate" && e.verdict == unix.NFT_JUMP:
		r.jump = e.chain
	case e.name == "immediate" && e.verdict == verdictAccept:
		r.accept = true
	default:
		r.other = true
	}
}

// verdictAccept is NF_ACCEPT of the kernel's include/uapi/linux/netfilter.h.
const verdictAccept = 1

// expression is what matters of one.
type expression struct {
	name    string
	key, op uint32
	data    []byte
	verdict int32
	chain   string
}

func (e *expression) decode(ad *netlink.AttributeDecoder) {
	switch ad.Type() {
	case unix.NFTA_EXPR_NAME:
		e.name = ad.String()
	case unix.NFTA_EXPR_DATA:
		within(ad, e.decodeData)
	}
}

// decodeData reads the attributes of the expression, whose name comes first.
func (e *expression) decodeData(ad *netlink.AttributeDecoder) {
	switch {
	case e.name == "meta" && ad.Type() == unix.NFTA_META_KEY:
		e.key = ad.Uint32()
	case e.name == "cmp" && ad.Type() == unix.NFTA_CMP_OP:
		e.op = ad.Uint32()
	case e.name == "cmp" && ad.Type() == unix.NFTA_CMP_DATA:
		within(ad, func(ad *netlink.AttributeDecoder) { e.data = ad.Bytes() })
	case e.name == "immediate" && ad.Type() == unix.NFTA_IMMEDIATE_DATA:
		within(ad, func(ad *netlink.AttributeDecoder) { within(ad, e.decodeVerdict) })
	}
}

func (e *expression) decodeVerdict(ad *netlink.AttributeDecoder) {
	switch ad.Type() {
	case unix.NFTA_VERDICT_CODE:
		e.verdict = int32(ad.Uint32())
	case unix.NFTA_VERDICT_CHAIN:
		e.chain = ad.String()
	}
}

// each calls visit for every attribute of a message of nfnetlink.
func each(m netlink.Message, visit func(*netlink.AttributeDecoder)) error {
	const nfgenSize = 4 // struct nfgenmsg: family, version, resource ID
	if len(m.Data) < nfgenSize {
		return fmt.Errorf("nf_tables message of %d bytes: %w", len(m.Data), unix.EBADMSG)
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[nfgenSize:])
	if err != nil {
		return fmt.Errorf("decode attributes: %w", err)
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		visit(ad)
	}
	return ad.Err()
}

// within calls visit for every attribute nested in this one.
func within(ad *netlink.AttributeDecoder, visit func(*netlink.AttributeDecoder)) {
	ad.Nested(func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			visit(ad)
		}
		return ad.Err()
	})
}
