package link

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// Attributes of linux/net_namespace.h and linux/if_link.h, and the size of struct rtgenmsg as
// it is padded.
const (
	netnsaNSID      = 1
	netnsaFD        = 3
	iflaLinkNetNSID = 37
	rtgenLen        = 4
)

// sameSpace is the number of a namespace in itself, which the kernel does not tell.
const sameSpace = -1

// leavesElsewhere tells whether what a link carries leaves by another namespace than that of
// its home: one with its name may have gone, and lives on with what was made by it.
func (w Want) leavesElsewhere(have Info) (bool, error) {
	if w.Home == nil {
		return false, nil
	}
	home := sameSpace
	if w.File != nil {
		msg, err := w.Conn.Get(rtnl.Request{Type: unix.RTM_GETNSID, Header: make([]byte, rtgenLen), Attrs: func(ae *netlink.AttributeEncoder) {
			ae.Uint32(netnsaFD, uint32(w.Home.Fd()))
		}})
		if err == nil {
			home, err = parseNSID(msg)
		}
		if err != nil {
			return false, err
		}
	}
	return home != have.Space, nil
}

// parseNSID reads the number that a namespace has in the one that was asked.
func parseNSID(msg []byte) (id int, err error) {
	id = sameSpace
	err = rtnl.Attributes(msg, rtgenLen, func(ad *netlink.AttributeDecoder) {
		if ad.Type() == netnsaNSID {
			id = int(ad.Int32())
		}
	})
	return id, err
}
