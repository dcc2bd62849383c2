package nft

import (
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/field"
	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
)

// Keys of conntrack that the library has no names for.
const (
	ctDestination4 expr.CtKey = 20 // NFT_CT_DST_IP
	ctDestination6 expr.CtKey = 22 // NFT_CT_DST_IP6
)

// ctOriginal is a property of the connection's first packet, as it was before
// any translation.
func ctOriginal(key expr.CtKey) field.Load {
	return func(reg uint32) expr.Any { return &expr.Ct{Register: reg, Key: key, Direction: 0} }
}

// translated matches packets of connections whose destination was translated, in
// both directions.
func translated() match {
	const statusDestinationNAT = 1 << 5 // IPS_DST_NAT
	status := func(reg uint32) expr.Any { return &expr.Ct{Register: reg, Key: expr.CtKeySTATUS} }
	return masked(status, expr.CmpOpNeq, make([]byte, 4), native32(statusDestinationNAT))
}

func hasDirection(key expr.CtKey) bool {
	return key == ctDestination4 || key == ctDestination6 || key == expr.CtKeyPROTODST
}

// marshal encodes an expression. The direction of a property of conntrack is one
// byte, which the library writes as four, or not at all.
func marshal(family byte, e expr.Any) ([]byte, error) {
	ct, ok := e.(*expr.Ct)
	if !ok || !hasDirection(ct.Key) {
		return expr.Marshal(family, e)
	}
	data := wire.Attrs(nil).U32(unix.NFTA_CT_KEY, uint32(ct.Key)).U32(unix.NFTA_CT_DREG, ct.Register)
	data = data.Bytes(unix.NFTA_CT_DIRECTION, []byte{byte(ct.Direction)})
	return wire.Attrs(nil).Str(unix.NFTA_EXPR_NAME, "ct").Nest(unix.NFTA_EXPR_DATA, data), nil
}

// unmarshal is the inverse of marshal, of an expression's data.
func unmarshal(family byte, data []byte, e expr.Any) error {
	if rt, ok := e.(*expr.Rt); ok { // the library cannot
		return decode(data, func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_RT_DREG:
				rt.Register = ad.Uint32()
			case unix.NFTA_RT_KEY:
				rt.Key = expr.RtKey(ad.Uint32())
			}
		})
	}
	ct, ok := e.(*expr.Ct)
	if !ok {
		return expr.Unmarshal(family, data, e)
	}
	return decode(data, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.NFTA_CT_KEY:
			ct.Key = expr.CtKey(ad.Uint32())
		case unix.NFTA_CT_DREG:
			ct.Register = ad.Uint32()
		case unix.NFTA_CT_SREG:
			ct.Register, ct.SourceRegister = ad.Uint32(), true
		case unix.NFTA_CT_DIRECTION:
			ct.Direction = uint32(ad.Uint8())
		}
	})
}

// answering matches packets of connections that were let through before.
func answering() match { return connection(expr.CmpOpNeq, established) }

// notAnswering matches all others.
func notAnswering() match { return connection(expr.CmpOpEq, established) }

const established = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED

// stray matches packets that conntrack can make nothing of (nf_conntrack(7): INVALID):
// segments out of a connection's window or of none at all, answers that nobody
// waits for, errors about nothing. They belong to no connection, so no translation
// holds for them.
func stray() match { return connection(expr.CmpOpNeq, expr.CtStateBitINVALID) }

// untracked matches packets that conntrack does not look at: neighbour discovery and
// group membership of IPv6 (nf_conntrack_icmpv6), and what a rule of somebody's says.
func untracked() match { return connection(expr.CmpOpNeq, expr.CtStateBitUNTRACKED) }

// connection matches packets that conntrack has given one of the states, or with
// CmpOpEq none of them.
func connection(op expr.CmpOp, states uint32) match {
	state := func(reg uint32) expr.Any { return &expr.Ct{Register: reg, Key: expr.CtKeySTATE} }
	return masked(state, op, make([]byte, 4), native32(states))
}
