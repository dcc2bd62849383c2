package iptables

import (
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/watch"
)

// Tables implements watch.Notifier: all that iptables-nft writes to, and what the backend
// beside has. Those of iptables-legacy send no notifications.
func (b *Backend) Tables() (out []watch.Table) {
	if n, ok := b.beside.(watch.Notifier); ok {
		out = n.Tables()
	}
	for _, t := range b.tools {
		if t.variant != NFT {
			continue
		}
		family := byte(unix.NFPROTO_IPV4)
		if t.family == six {
			family = unix.NFPROTO_IPV6
		}
		for _, name := range tablesInOrder() {
			out = append(out, watch.Table{Family: family, Name: name})
		}
	}
	return out
}

// Ports implements watch.Notifier. Commands have ports of their own; they are known as
// children of this process.
func (b *Backend) Ports() []uint32 {
	if n, ok := b.beside.(watch.Notifier); ok {
		return n.Ports()
	}
	return nil
}
