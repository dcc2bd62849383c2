package swarm

import (
	"fmt"
	"net"
)

// LocalAddr returns the address of this host from which it reaches another, host:port.
// It sends nothing: a UDP socket is connected, and the kernel says which address that
// has.
func LocalAddr(remote string) (string, error) {
	c, err := net.Dial("udp", remote)
	if err != nil {
		return "", fmt.Errorf("could not find local IP address: %w", err)
	}
	defer c.Close()
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	return host, err
}
