package guard

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// hold is a table with empty nat chains, which keeps the kernel translating the
// connections that there are while all other tables are gone: without any nat chain, and
// anything that asks for the state of connections, it takes its hooks away (nf_nat,
// nf_conntrack), and packets on their way meet a stack that answers with a reset. It says
// nothing about any packet.
//
// Its flag (NFT_TABLE_F_OWNER, Linux 5.12) has it left alone by `nft flush ruleset`, and
// die with the socket, which is here what is wanted: it is worth nothing without us.
type hold struct{ conn *netlink.Conn }

// Of linux/netfilter/nf_tables.h, what x/sys/unix does not name, and linux/netfilter.h.
const (
	tableOwner   = 0x2 // NFT_TABLE_F_OWNER
	ctState      = 0   // NFT_CT_STATE
	policyAccept = 1   // NF_ACCEPT

	priorityDestination, prioritySource = -100, 100
)

// holdName is that of the table, which is another for each keeper: one takes over from
// another while both are there.
func holdName() string { return fmt.Sprintf("linkspan-hold-%d", os.Getpid()) }

// openHold makes the table in the calling thread's namespace.
func openHold() (*hold, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink socket: %w", err)
	}
	h := &hold{conn}
	if err := h.make(holdName()); err != nil {
		conn.Close() //nolint:errcheck // and with it goes what was made
		return nil, fmt.Errorf("make table %s: %w", holdName(), err)
	}
	return h, nil
}

// close removes the table.
func (h *hold) close() {
	h.conn.Close() //nolint:errcheck // the kernel does the rest
}

func (h *hold) make(name string) error {
	messages := []netlink.Message{batch(unix.NFNL_MSG_BATCH_BEGIN)}
	add := func(kind int, encode func(*netlink.AttributeEncoder)) error {
		ae := netlink.NewAttributeEncoder()
		ae.ByteOrder = binary.BigEndian
		encode(ae)
		attrs, err := ae.Encode()
		messages = append(messages, netlink.Message{
			Header: netlink.Header{
				Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind),
				Flags: netlink.Request | netlink.Create | netlink.Acknowledge,
			},
			Data: append([]byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}, attrs...),
		})
		return err
	}
	err := add(unix.NFT_MSG_NEWTABLE, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, name)
		ae.Uint32(unix.NFTA_TABLE_FLAGS, tableOwner)
	})
	for _, c := range []struct {
		name     string
		hook     uint32
		priority int32
	}{
		{"prerouting", unix.NF_INET_PRE_ROUTING, priorityDestination}, {"input", unix.NF_INET_LOCAL_IN, prioritySource},
		{"output", unix.NF_INET_LOCAL_OUT, priorityDestination}, {"postrouting", unix.NF_INET_POST_ROUTING, prioritySource},
	} {
		if err == nil {
			err = add(unix.NFT_MSG_NEWCHAIN, natChain(name, c.name, c.hook, c.priority))
		}
	}
	if err == nil {
		err = add(unix.NFT_MSG_NEWRULE, stateRule(name))
	}
	if err != nil {
		return err
	}
	asked := len(messages) - 1
	if _, err := h.conn.SendMessages(append(messages, batch(unix.NFNL_MSG_BATCH_END))); err != nil {
		return err
	}
	for range asked {
		if _, err := h.conn.Receive(); err != nil {
			return err
		}
	}
	return nil
}

func natChain(table, name string, hook uint32, priority int32) func(*netlink.AttributeEncoder) {
	return func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_CHAIN_TABLE, table)
		ae.String(unix.NFTA_CHAIN_NAME, name)
		ae.Nested(unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.NFTA_HOOK_HOOKNUM, hook)
			ae.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(priority))
			return nil
		})
		ae.Uint32(unix.NFTA_CHAIN_POLICY, policyAccept)
		ae.String(unix.NFTA_CHAIN_TYPE, "nat")
	}
}

// stateRule asks for the state of a connection and does nothing with it.
func stateRule(table string) func(*netlink.AttributeEncoder) {
	return func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_RULE_TABLE, table)
		ae.String(unix.NFTA_RULE_CHAIN, "prerouting")
		ae.Nested(unix.NFTA_RULE_EXPRESSIONS, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(unix.NFTA_LIST_ELEM, func(ae *netlink.AttributeEncoder) error {
				ae.String(unix.NFTA_EXPR_NAME, "ct")
				ae.Nested(unix.NFTA_EXPR_DATA, func(ae *netlink.AttributeEncoder) error {
					ae.Uint32(unix.NFTA_CT_DREG, unix.NFT_REG_1)
					ae.Uint32(unix.NFTA_CT_KEY, ctState)
					return nil
				})
				return nil
			})
			return nil
		})
	}
}

// batch opens or ends a transaction.
func batch(kind int) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request},
		Data:   binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, unix.NFNL_SUBSYS_NFTABLES),
	}
}
