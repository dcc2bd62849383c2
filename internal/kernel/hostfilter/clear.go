package hostfilter

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Clear removes what is ours, for families of which no rule is to be written any more:
// the chain LINKSPAN-FORWARD, and the jump to it. It returns how many messages and lines
// that took. DOCKER-USER, with the jump to it, is the administrator's and stays.
func (f *Firewall) Clear(ctx context.Context) (writes int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, y := range f.families {
		lookErr := y.look(ctx)
		n, nativeErr := y.native.clear(ctx)
		m, legacyErr := 0, error(nil)
		if y.legacy.loaded() { // to ask would make the table
			m, legacyErr = y.legacy.clear(ctx)
		}
		writes, err = writes+n+m, errors.Join(err, lookErr, nativeErr, legacyErr)
	}
	return writes, err
}

func (n *native) clear(ctx context.Context) (int, error) {
	have, err := n.read(ctx)
	if err != nil || !have.own {
		return 0, err
	}
	w := n.batch(ctx)
	for _, rule := range have.rules {
		if rule.jumpsTo(OwnChain) {
			w.remove(forwardChain, rule)
		}
	}
	w.FlushChain(w.chain(OwnChain))
	w.count++
	writes, err := w.flush()
	if err != nil {
		return 0, fmt.Errorf("clear table %s: %w", n.name, err)
	}
	w = n.batch(ctx)
	w.DelChain(w.chain(OwnChain))
	w.count++
	more, err := w.flush()
	if err != nil && !errors.Is(err, unix.EBUSY) { // somebody's rule leads there: it is empty
		return writes, fmt.Errorf("clear table %s: %w", n.name, err)
	}
	return writes + more, nil
}

func (l *legacy) clear(ctx context.Context) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tool := l.tool.Load()
	if tool == nil {
		return 0, nil
	}
	text, err := tool.Save(ctx, "-t", filterTable)
	if err != nil {
		return 0, err
	}
	have := parse(text)
	if !have.own {
		return 0, nil
	}
	var lines strings.Builder
	fmt.Fprintf(&lines, "*%s\n", filterTable)
	for _, rule := range have.rules {
		if rule.jumpsTo(OwnChain) {
			fmt.Fprintf(&lines, "-D %s -j %s\n", forwardChain, OwnChain)
		}
	}
	fmt.Fprintf(&lines, "-F %[1]s\n-X %[1]s\nCOMMIT\n", OwnChain)
	err = tool.Restore(ctx, lines.String())
	return strings.Count(lines.String(), "\n") - 2, err // without *filter and COMMIT
}
