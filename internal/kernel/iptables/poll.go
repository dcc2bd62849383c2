package iptables

import (
	"context"
	"errors"

	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

// shapes are those of the tables that we write to.
type shapes [4]xtables.Shape

// poller reads the tables of iptables-legacy, which send no notifications.
type poller struct {
	sockets map[int]xtables.Socket // by family
	seen    map[int]shapes
}

// openPoller opens the sockets that are needed, in the namespace of the calling thread.
func openPoller(tools []*tool) (*poller, error) {
	p := &poller{sockets: map[int]xtables.Socket{}, seen: map[int]shapes{}}
	for _, t := range tools {
		if t.Variant != xtables.Legacy {
			continue
		}
		s, err := xtables.OpenSocket(t.Family)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.sockets[t.family] = s
	}
	return p, nil
}

func (p *poller) close() error {
	var failed []error
	for _, s := range p.sockets {
		failed = append(failed, s.Close())
	}
	clear(p.sockets)
	return errors.Join(failed...)
}

// read asks for what the tables of a family have now: some microseconds each.
func (p *poller) read(family int) (out shapes, err error) {
	for i, table := range tablesInOrder() {
		if family == six && table == tableRaw {
			continue // nothing of ours is there, and to ask would make it
		}
		if out[i], err = p.sockets[family].Shape(table); err != nil {
			return out, err
		}
	}
	return out, nil
}

// note takes the tables as they are for what they should be.
func (p *poller) note() {
	for family := range p.sockets {
		delete(p.seen, family)
		if now, err := p.read(family); err == nil {
			p.seen[family] = now
		}
	}
}

// changed tells whether the tables are not as they were noted. What cannot be read has not
// changed.
func (p *poller) changed() bool {
	for family := range p.sockets {
		seen, noted := p.seen[family]
		if now, err := p.read(family); noted && err == nil && now != seen {
			return true
		}
	}
	return false
}

// Poll implements watch.Poller, for iptables-legacy: it tells whether somebody has added
// or taken away anything since we wrote or looked last. What was replaced by something
// of the same size only a resync sees.
func (b *Backend) Poll(context.Context) (lost bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.poller.changed(), nil
}

// Close gives back what New opened. The rules stay in force.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.poller.close()
}
