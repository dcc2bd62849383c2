package nft

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
)

const setTransparent = "transparent"

func socketSets() []set {
	return []set{{name: setTransparent, comment: "bridges whose containers answer to transparent sockets of this host", key: []datatype{typeIfname}}}
}

// socketChains mark what containers answer to transparent sockets, so that a routing
// rule delivers it here. Only established connections count: who else on this host
// listens with such a socket, a proxy of its administrator's, gets nothing by this.
func socketChains() []chain {
	const priorityMangle = -150
	transparent := match{
		&expr.Socket{Key: expr.SocketKeyTransparent, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: []byte{1}},
	}
	return []chain{{"sockets", base{"filter", unix.NF_INET_PRE_ROUTING, priorityMangle}, []rule{
		setMark("an answer to a transparent socket of this host", desired.TransparentMark, desired.TransparentMark,
			in(setTransparent, field.IIFName), answering(), transparent),
	}}}
}

func renderTransparent(r desired.Transparent) ([]element, error) {
	bridge, err := nameKey(r.Bridge)
	return []element{{set: setTransparent, key: bridge}}, err
}
