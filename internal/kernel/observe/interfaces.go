package observe

import (
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// Interfaces returns the interfaces of a namespace with their addresses, in the kernel's
// order.
func Interfaces(conn *rtnl.Conn) ([]facts.Interface, error) {
	links, err := link.List(conn)
	if err != nil {
		return nil, err
	}
	addrs, err := addr.List(conn, everyLink)
	if err != nil {
		return nil, err
	}
	var out []facts.Interface
	for _, l := range links {
		one := facts.Interface{Name: l.Name, Up: l.Up, Loop: l.Name == "lo", Plain: l.Type == "", MTU: l.MTU}
		for _, a := range addrs {
			if a.Index == l.Index {
				one.Addrs = append(one.Addrs, a.Prefix.Addr())
			}
		}
		out = append(out, one)
	}
	return out, nil
}
