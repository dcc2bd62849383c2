package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/cluster/stream"
	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/config"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ingress"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/remotes"
	"github.com/linkspan/linkspan/internal/wireguard/key"
)

// newRemotes makes the parts of the daemon that know of other hosts' endpoints, and that
// publish what services want on all hosts.
func (d *daemon) newRemotes() {
	d.remotes.Store(remotes.New(remotes.Options{
		Engine: d.engine, Node: &swarmNode{daemon: d}, File: remotesFile(d.config), Logger: d.log,
		Key: func() (string, error) { return key.LoadOrCreate(keyFile(d.config)) }, KeyFile: keyFile(d.config),
	}))
	d.ingress.Store(ingress.New(d.engine, d.log))
}

// remotesFile is where what is known of other hosts is kept for the next daemon.
func remotesFile(c config.Config) string { return filepath.Join(c.DataRoot, "remotes.json") }

// keyFile is where this host's private key is for the tunnel of encrypted networks.
func keyFile(c config.Config) string { return filepath.Join(c.DataRoot, "wireguard.key") }

// knownRemotes returns what the daemon before knew of other hosts: the ways to them stay.
func knownRemotes(c config.Config, log *slog.Logger) func() []facts.Fact {
	return func() (out []facts.Fact) {
		for _, o := range stream.Load(remotesFile(c), log) {
			out = append(out, o)
		}
		return out
	}
}

// wakeRemotes is called whenever the model or the swarm may have changed, from the time on
// when the engine opens.
func (d *daemon) wakeRemotes() {
	if r := d.remotes.Load(); r != nil {
		r.Wake()
	}
	if m := d.ingress.Load(); m != nil {
		m.Wake()
	}
}

// openRemotes begins to tell of this host's endpoints, and to publish ports of services.
func (d *daemon) openRemotes(ctx context.Context) error {
	d.remotes.Load().Start(ctx)
	d.later(func(context.Context) error { d.remotes.Load().Close(); return nil })
	d.ingress.Load().Start(ctx)
	d.later(func(context.Context) error { d.ingress.Load().Close(); return nil })
	return nil
}

// swarmNode is this host's node for those who speak with others.
type swarmNode struct {
	*daemon
	mu    sync.Mutex
	spots map[string]spots // by node
}

// spots are the addresses of a node's tasks as they were a moment ago.
type spots struct {
	at   time.Time
	list map[cluster.Spot]*model.ServiceEndpoint
	err  error // the swarm did not answer: the list is the one before
}

// Self implements remotes.Node.
func (s *swarmNode) Self() (remotes.Self, bool) {
	n := s.swarm.Node()
	st := n.State()
	if n == nil || st.ID == "" {
		return remotes.Self{}, n != nil
	}
	out := remotes.Self{ID: st.ID, Port: uint16(s.swarm.DataPort()), Guessed: !s.swarm.DataPortKnown(), Manager: st.Manager}
	out.Name, _ = os.Hostname()
	own := ""
	for _, text := range []string{st.LocalAddr, st.Advertise, st.DataPath} {
		if a, err := netip.ParseAddr(text); err == nil && !a.IsUnspecified() {
			out.VTEP, own = a.Unmap(), text
		}
	}
	out.MTU = s.mtuOf(out.VTEP)
	for _, r := range st.Remotes {
		if host, _, err := net.SplitHostPort(r.Addr); err == nil && r.NodeID != st.ID {
			out.Managers = append(out.Managers, host)
		}
	}
	if st.Manager {
		out.Managers = append(out.Managers, own)
	}
	if !out.VTEP.IsValid() {
		out.ID = "" // it does not know yet how others reach it
	}
	return out, true
}

// usualMTU is that of an interface that is not known.
const usualMTU = 1500

// mtuOf returns the MTU of the interface with an address. It waits for what is being written
// to the kernel, as what is learned here does.
func (s *swarmNode) mtuOf(a netip.Addr) int {
	all, err := s.kernel.Interfaces(context.Background())
	if err != nil {
		return usualMTU
	}
	for _, i := range all {
		if !i.Loop && slices.Contains(i.Addrs, a) {
			return i.MTU
		}
	}
	return usualMTU
}

const (
	// handshakeTime bounds the beginning of a session between two nodes.
	handshakeTime = 5 * time.Second
	// maxNodes bounds how many nodes connect to one manager.
	maxNodes = 8192
	// spotsFresh is how long what was asked of the swarm about a node is not asked again.
	spotsFresh = 200 * time.Millisecond
	// spotsOld is how long an address that was a node's is taken to be so still.
	spotsOld = 5 * time.Second
)

// Dial implements remotes.Node.
func (s *swarmNode) Dial(ctx context.Context, manager string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	d := tls.Dialer{Config: s.swarm.Node().Credentials().Client()}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(manager, strconv.Itoa(stream.Port)))
}

// Serve implements remotes.Node.
func (s *swarmNode) Serve(ctx context.Context, serve func(context.Context, net.Conn, string)) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(stream.Port)))
	if err != nil {
		return err
	}
	l = limits.Patient(l, &limits.Outage{Logger: s.log, Op: "stream.accept", What: "the listener for other hosts"})
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel() // first: sessions end with the listener
	places := make(chan struct{}, maxNodes)
	for {
		conn, err := l.Accept()
		if err != nil {
			return errors.Join(err, ctx.Err())
		}
		select {
		case places <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		running.Go(func() {
			defer func() { <-places }()
			defer conn.Close()
			if secured, node, err := s.identify(ctx, conn); err == nil {
				serve(ctx, secured, node)
			} else {
				s.log.Debug("a connection is not a node's", "op", "stream.accept", "err", err)
			}
		})
	}
}

// identify returns which node is at the other end.
func (s *swarmNode) identify(ctx context.Context, conn net.Conn) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	secured := tls.Server(conn, s.swarm.Node().Credentials().Server())
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, "", err
	}
	peer, err := cluster.PeerOf(secured.ConnectionState())
	if err != nil {
		return nil, "", err
	}
	if known, err := s.swarm.Node().Known(ctx, peer.NodeID); err == nil && !known { // its certificate outlives docker node rm
		return nil, "", fmt.Errorf("%s is no node of the swarm any more", peer.NodeID)
	}
	return secured, peer.NodeID, nil
}

// Holds implements remotes.Node.
func (s *swarmNode) Holds(ctx context.Context, r model.Remote) (held, known bool) {
	s.mu.Lock()
	last := s.spots[r.Node]
	s.mu.Unlock()
	age := time.Since(last.at)
	if age < spotsOld && last.has(r) {
		return true, true
	}
	if age < spotsFresh {
		return false, last.err == nil
	}
	now := spots{at: time.Now()}
	if now.list, now.err = s.swarm.Node().Spots(ctx, r.Node); now.err != nil {
		now.list = last.list
	}
	s.mu.Lock()
	if s.spots == nil || len(s.spots) > maxNodes {
		s.spots = map[string]spots{}
	}
	s.spots[r.Node] = now
	s.mu.Unlock()
	return now.err == nil && now.has(r), now.err == nil
}

func (k spots) has(r model.Remote) bool {
	for _, a := range r.Addrs {
		stands, held := k.list[cluster.Spot{Network: r.Network, Addr: a}]
		if !held || !stands.Equal(r.Service) {
			return false
		}
	}
	return true
}
