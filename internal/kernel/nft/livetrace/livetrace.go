// Package livetrace has the kernel tell which rules of nf_tables real packets meet (nftrace),
// in one network namespace, for a moment.
//
//	Question ─▶ Start ─▶ packets ─▶ Watch.Stop ─▶ []Event
//
// It makes tables of its own that mark the packets in question, and nothing else. They are
// owned by a socket: they end with it, also when the process is killed. It decides nothing
// about packets, and keeps at most maxEvents.
package livetrace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
)

// maxEvents bounds what is kept: a packet meets some dozens of rules.
const maxEvents = 4096

// patience is how long Stop waits for what was told already.
const patience = time.Second

// Watch is under way from Start to Stop.
type Watch struct {
	rules    *wire.Conn
	listener *netlink.Conn
	done     sync.WaitGroup

	// The rest is the reader's until done.
	events []Event
	lost   bool
}

// Start begins to follow packets in the namespace that the descriptor netns refers to; 0 is
// that of the thread. The caller ends it with Stop.
func Start(ctx context.Context, netns int, q Question) (*Watch, error) {
	listener, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink socket: %w", err)
	}
	_ = listener.SetReadBuffer(1 << 20) // less is lost with it; without it the end is the same
	if err := listener.JoinGroup(unix.NFNLGRP_NFTRACE); err != nil {
		return nil, errors.Join(fmt.Errorf("listen to traces: %w", err), listener.Close())
	}
	rules, err := wire.Dial(netns)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	w := &Watch{rules: rules, listener: listener}
	w.done.Go(w.listen)
	for _, family := range []byte{unix.NFPROTO_BRIDGE, unix.NFPROTO_INET} {
		if err := w.mark(ctx, family, q); err != nil && family == unix.NFPROTO_INET { // a kernel need not have the other
			_, _ = w.Stop()
			return nil, err
		}
	}
	return w, nil
}

func (w *Watch) mark(ctx context.Context, family byte, q Question) error {
	messages, err := table(family, q)
	if err != nil {
		return err
	}
	refused, err := w.rules.Commit(ctx, messages)
	for _, r := range refused {
		err = errors.Join(err, fmt.Errorf("%s: %w", messages[r.Index].What, r.Err))
	}
	if err != nil {
		return fmt.Errorf("have packets traced: %w", err)
	}
	return nil
}

// Stop ends it, and returns what was heard; lost says that there was more.
func (w *Watch) Stop() (events []Event, lost bool) {
	_ = w.rules.Close() // and the tables with it
	// What was told already stands in the socket before the answer to a question; the deadline
	// is for a socket that is so full that it has no room for one.
	_ = w.listener.SetReadDeadline(time.Now().Add(patience))
	_, _ = w.listener.Send(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request}, Data: make([]byte, headerLen),
	})
	w.done.Wait()
	_ = w.listener.Close()
	return w.events, w.lost
}

// listen reads until the answer to Stop's question, or its deadline.
func (w *Watch) listen() {
	for {
		messages, err := w.listener.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			w.lost = true
			continue
		case errors.Is(err, os.ErrDeadlineExceeded), err != nil:
			return
		}
		for _, m := range messages {
			if m.Header.Type == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN {
				return
			}
			w.take(uint16(m.Header.Type), m.Data)
		}
	}
}

// headerLen is the size of struct nfgenmsg.
const headerLen = 4

// take notes one message, unless it is of our own tables.
func (w *Watch) take(kind uint16, data []byte) {
	if kind != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_TRACE || len(data) < headerLen {
		return
	}
	e, err := parse(data[0], data[headerLen:])
	if err != nil || e.Table == tableName() {
		return
	}
	if len(w.events) == maxEvents {
		w.lost = true
		return
	}
	w.events = append(w.events, e)
}
