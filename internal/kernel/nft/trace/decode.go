package trace

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// expressions reads those of a rule. Those that cannot be read are named.
func expressions(family byte, list []byte) (out []expr.Any, unknown []string) {
	ad, err := netlink.NewAttributeDecoder(list)
	if err != nil {
		return nil, []string{"a rule that cannot be read"}
	}
	for ad.Next() {
		e, name := expression(family, ad.Bytes())
		if e == nil {
			unknown = append(unknown, "expression "+name)
			continue
		}
		out = append(out, e)
	}
	if ad.Err() != nil {
		unknown = append(unknown, "a rule that cannot be read")
	}
	return out, unknown
}

// expression reads one; nil if that cannot be done. What it does not know in one must not
// pass for nothing, so the kinds that are read whole are listed.
func expression(family byte, b []byte) (e expr.Any, name string) {
	defer func() {
		if recover() != nil { // the library trusts lengths
			e = nil
		}
	}()
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil, name
	}
	var data []byte
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_EXPR_NAME:
			name = ad.String()
		case unix.NFTA_EXPR_DATA:
			data = ad.Bytes()
		}
	}
	if ad.Err() != nil {
		return nil, name
	}
	if e = empty(name); e == nil {
		return nil, name
	}
	if read, ok := readOwn(e, data); ok { // of these the library cannot read all
		return read, name
	}
	if err := expr.Unmarshal(family, data, e); err != nil {
		return nil, name
	}
	if i, ok := e.(*expr.Immediate); ok && i.Register == unix.NFT_REG_VERDICT && len(i.Data) == 0 {
		e = &expr.Verdict{}
		if err := expr.Unmarshal(family, data, e); err != nil {
			return nil, name
		}
	}
	return e, name
}

// empty is an expression of a kind that is read; nil for all others.
func empty(name string) expr.Any {
	switch name {
	case "ct":
		return &expr.Ct{}
	case "range":
		return &expr.Range{}
	case "meta":
		return &expr.Meta{}
	case "cmp":
		return &expr.Cmp{}
	case "counter":
		return &expr.Counter{}
	case "payload":
		return &expr.Payload{}
	case "lookup":
		return &expr.Lookup{}
	case "immediate":
		return &expr.Immediate{}
	case "bitwise":
		return &expr.Bitwise{}
	case "byteorder":
		return &expr.Byteorder{}
	case "rt":
		return &expr.Rt{}
	case "notrack":
		return &expr.Notrack{}
	}
	return emptyStatement(name)
}

func emptyStatement(name string) expr.Any {
	switch name {
	case "redir":
		return &expr.Redir{}
	case "nat":
		return &expr.NAT{}
	case "limit":
		return &expr.Limit{}
	case "dynset":
		return &expr.Dynset{}
	case "log":
		return &expr.Log{}
	case "match":
		return &expr.Match{}
	case "target":
		return &expr.Target{}
	case "queue":
		return &expr.Queue{}
	case "reject":
		return &expr.Reject{}
	case "masq":
		return &expr.Masq{}
	case "fib":
		return &expr.Fib{}
	}
	return nil
}

func readElement(ad *netlink.AttributeDecoder) (b bound, err error) {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_SET_ELEM_FLAGS:
			flags := ad.Uint32()
			b.end = flags&unix.NFT_SET_ELEM_INTERVAL_END != 0
			b.CatchAll = flags&nftSetElemCatchAll != 0
		case unix.NFTA_SET_ELEM_KEY:
			b.Key, _ = readValue(ad)
		case nftaSetElemEnd:
			b.Last, _ = readValue(ad)
		case unix.NFTA_SET_ELEM_DATA:
			b.Data, b.Verdict = readValue(ad)
		case nftaElemUserdata:
			b.Comment = comment(ad.Bytes())
		}
	}
	return b, ad.Err()
}

// readValue is a value, or a verdict.
func readValue(ad *netlink.AttributeDecoder) (value string, verdict *expr.Verdict) {
	ad.Nested(func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() != nftaDataVerdict {
				value = string(ad.Bytes())
				continue
			}
			verdict = &expr.Verdict{}
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					switch ad.Type() {
					case nftaVerdictCode:
						verdict.Kind = expr.VerdictKind(int32(ad.Uint32()))
					case nftaVerdictChain:
						verdict.Chain = ad.String()
					}
				}
				return ad.Err()
			})
		}
		return ad.Err()
	})
	return value, verdict
}

// Attributes of byteorder expressions (linux/netfilter/nf_tables.h).
const (
	nftaByteorderSreg = 1
	nftaByteorderDreg = 2
	nftaByteorderOp   = 3
	nftaByteorderLen  = 4
	nftaByteorderSize = 5
)

// readOwn reads expressions of some kinds; ok is false for all others. nil is one that
// cannot be read.
func readOwn(e expr.Any, data []byte) (read expr.Any, ok bool) {
	var visit func(ad *netlink.AttributeDecoder)
	switch e := e.(type) {
	case *expr.Ct:
		visit = func(ad *netlink.AttributeDecoder) { readCt(e, ad) }
	case *expr.Rt:
		visit = func(ad *netlink.AttributeDecoder) {
			switch ad.Type() {
			case unix.NFTA_RT_KEY:
				e.Key = expr.RtKey(ad.Uint32())
			case unix.NFTA_RT_DREG:
				e.Register = ad.Uint32()
			}
		}
	case *expr.Byteorder:
		visit = func(ad *netlink.AttributeDecoder) { readByteorder(e, ad) }
	default:
		return nil, false
	}
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return nil, true
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		visit(ad)
	}
	if ad.Err() != nil {
		return nil, true
	}
	return e, true
}

func readCt(e *expr.Ct, ad *netlink.AttributeDecoder) {
	switch ad.Type() {
	case unix.NFTA_CT_KEY:
		e.Key = expr.CtKey(ad.Uint32())
	case unix.NFTA_CT_DREG:
		e.Register = ad.Uint32()
	case unix.NFTA_CT_SREG:
		e.Register, e.SourceRegister = ad.Uint32(), true
	case unix.NFTA_CT_DIRECTION:
		e.Direction = uint32(ad.Uint8())
	}
}

func readByteorder(e *expr.Byteorder, ad *netlink.AttributeDecoder) {
	switch ad.Type() {
	case nftaByteorderSreg:
		e.SourceRegister = ad.Uint32()
	case nftaByteorderDreg:
		e.DestRegister = ad.Uint32()
	case nftaByteorderOp:
		e.Op = expr.ByteorderOp(ad.Uint32())
	case nftaByteorderLen:
		e.Len = ad.Uint32()
	case nftaByteorderSize:
		e.Size = ad.Uint32()
	}
}
