package namespaces

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
)

func (n *Namespace) Route(gateways ...string) {
	n.t.Helper()
	for _, g := range gateways {
		n.Must(n.Link.RouteAdd(&netlink.Route{Gw: net.ParseIP(g)}))
	}
}

func (n *Namespace) Listen(address string) (l net.Listener) {
	n.t.Helper()
	n.Do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	n.t.Cleanup(func() { l.Close() })
	return l
}

// ask connects from a namespace and returns what it hears; empty if nobody
// answers.
func (n *Namespace) Ask(address string, patience time.Duration) (heard string) {
	n.t.Helper()
	n.Do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience)) // a fresh socket takes any
		b, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && len(b) > 0 {
			return err
		}
		heard = string(b)
		return nil
	})
	return heard
}
