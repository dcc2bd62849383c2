package iptables

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/watch"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

// Tables implements watch.Notifier: all that iptables-nft writes to, and what the backend
// beside has. Those of iptables-legacy send no notifications.
func (b *Backend) Tables() (out []watch.Table) {
	if n, ok := b.beside.(watch.Notifier); ok {
		out = n.Tables()
	}
	for _, t := range b.tools {
		if t.Variant != xtables.NFT {
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

// Ran implements watch.Commander: what a command has changed is told when it has ended
// already.
func (b *Backend) Ran(pid int) bool { return b.recent.has(pid) }

// processes are the last that were started, oldest first: as many as can have something
// in a socket's queue. Process numbers come again, but not as soon as that.
type processes struct {
	mu  sync.Mutex
	ids []int
}

const maxProcesses = 64

func (p *processes) add(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ids) == maxProcesses {
		p.ids = slices.Delete(p.ids, 0, 1)
	}
	p.ids = append(p.ids, pid)
}

func (p *processes) has(pid int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return pid != 0 && slices.Contains(p.ids, pid)
}
