package userproxy

import "golang.org/x/sys/unix"

// hears tells whether a datagram that reached the socket of a proxy for broadcasts is the
// proxy's: one that was sent to a broadcast address, and what its sender sends afterwards
// to the address that has answered it. That is no longer translated, since the kernel
// takes it for an answer to our answer.
//
// Everything else that is addressed to the host itself is not for user space. It gets
// here only without rules, and then nothing is to open.
func (p *proxy) hears(key flowKey, at arrival) bool {
	if !at.broadcast() {
		return at.to == at.local && p.flows.get(key) != nil
	}
	return interfaceName(key.socket, at.by) != p.row.Bridge
}

// interfaceName returns the name of the interface with that index (netdevice(7),
// SIOCGIFNAME); empty if it has gone.
func interfaceName(sock *socket, index uint32) string {
	request, err := unix.NewIfreq("")
	if err != nil {
		return ""
	}
	request.SetUint32(index)
	if sock.Control(func(fd int) error { return unix.IoctlIfreq(fd, unix.SIOCGIFNAME, request) }) != nil {
		return ""
	}
	return request.Name()
}
