package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	frameBytes = 2048
	// mayAnswer is how long a container waits for an answer that must not come: the network is a wire.
	mayAnswer = 200 * time.Millisecond
)

// capture is everything that a machine outside got from the hosts: packets that are not of the link itself.
type capture struct {
	mu      sync.Mutex
	packets []packet
}

// packet is one of IP.
type packet struct {
	from, to netip.Addr
	proto    byte
	payload  []byte // of IP, in lower case: resolvers may spell names in letters of random case
}

func (p packet) String() string {
	return fmt.Sprintf("%s > %s protocol %d: %.80q", p.from, p.to, p.proto, p.payload)
}

// watch captures in the world until the test ends.
func (s *namesScene) watch() *capture {
	s.t.Helper()
	c, fd := &capture{}, -1
	s.do(inside(s.world, func() (err error) {
		all := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
		return err
	}))
	s.do(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}))
	var reading sync.WaitGroup
	quit := make(chan struct{})
	reading.Go(func() {
		frame := make([]byte, frameBytes)
		for {
			select {
			case <-quit:
				return
			default:
			}
			n, from, err := unix.Recvfrom(fd, frame, 0)
			if link, ok := from.(*unix.SockaddrLinklayer); err == nil && ok && link.Pkttype != unix.PACKET_OUTGOING {
				c.take(frame[:n])
			}
		}
	})
	s.t.Cleanup(func() {
		close(quit)
		reading.Wait()
		_ = unix.Close(fd)
	})
	return c
}

// take notes an Ethernet frame of IPv4 or IPv6, unless it is what neighbours say to each other (RFC 4861, RFC 3810).
func (c *capture) take(frame []byte) {
	if len(frame) < 14 {
		return
	}
	ip := frame[14:]
	var p packet
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == unix.ETH_P_IP && len(ip) >= 20:
		p = packet{from: netip.AddrFrom4([4]byte(ip[12:])), to: netip.AddrFrom4([4]byte(ip[16:])), proto: ip[9], payload: ip[20:]}
	case kind == unix.ETH_P_IPV6 && len(ip) >= 40:
		p = packet{from: netip.AddrFrom16([16]byte(ip[8:])), to: netip.AddrFrom16([16]byte(ip[24:])), proto: ip[6], payload: ip[40:]}
		if p.to.IsMulticast() || p.proto == unix.IPPROTO_ICMPV6 && len(p.payload) > 0 && p.payload[0] >= 133 && p.payload[0] <= 137 {
			return
		}
	default:
		return
	}
	if len(p.from.AsSlice()) == 4 && p.from.IsLoopback() {
		return // the world talks to itself
	}
	p.payload = bytes.ToLower(p.payload)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packets = append(c.packets, p)
}

// label is how a label is written in a DNS message (RFC 1035, section 3.1).
func label(text string) []byte { return append([]byte{byte(len(text))}, text...) }

// until waits for a packet with a label, which is a fence: what was sent before it has come, too. It returns, and
// forgets, all up to there.
func (c *capture) until(ctx context.Context, fence string) (before []packet, err error) {
	err = Until(ctx, lookUpTime, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, p := range c.packets {
			if bytes.Contains(p.payload, label(fence)) {
				before, c.packets = c.packets[:i], c.packets[i+1:]
				return nil
			}
		}
		return fmt.Errorf("%s has not come by among %d packets", fence, len(c.packets))
	})
	return before, err
}

// nothingLeaks has containers of an internal network ask for everything that has a name, and others for the names of
// containers in every form: the outside world gets no packet of the former, and no question about the latter.
func (s *namesScene) nothingLeaks(ctx context.Context) {
	s.docker(ctx, "network create --internal --ipv6 --subnet 172.31.0.0/24 --subnet fd00:b::/64 vault")
	s.docker(ctx, "run -d --name vaultkeeper --network vault --network-alias vaultalias --ip 172.31.0.10 --ip6 fd00:b::10 busybox sleep 1000")
	for name, flags := range map[string]string{
		"plain":    "",
		"searcher": "--dns-search corp.example.test --dns-option ndots:2",
		"directed": "--dns " + worldAddr4 + " --dns " + worldAddr6,
		"escaper":  "--cap-add NET_ADMIN",
	} {
		s.docker(ctx, "run -d --name "+name+" --network vault "+flags+" busybox sleep 1000")
	}
	s.docker(ctx, "exec escaper ip route add default via 172.31.0.1")
	s.docker(ctx, "exec escaper ip -6 route add default via fd00:b::1")
	s.docker(ctx, "network create quiet")
	s.docker(ctx, "run -d --name quietone --hostname quiethost --network quiet --network-alias quietalias busybox sleep 1000")
	s.docker(ctx, "run -d --name asker --network quiet --link quietone:quietlink --dns-search corp.example.test busybox sleep 1000")
	asker, id := s.netns(ctx, "asker"), s.docker(ctx, "inspect -f {{.Id}} quietone")[:12]
	c := s.watch()
	s.wants(asker, "firstfence.example.test A", "NXDOMAIN")
	_, err := c.until(ctx, "firstfence")
	s.do(err)

	for _, name := range []string{"plain", "searcher", "directed", "escaper"} {
		s.do(s.asksEverything(ctx, name))
	}
	s.wants(asker, "secondfence.example.test A", "NXDOMAIN")
	before, err := c.until(ctx, "secondfence")
	s.do(err)
	for _, p := range before {
		s.t.Errorf("from an internal network: %s", p)
	}

	s.asksForContainers(ctx, asker, id)
	s.wants(asker, "thirdfence.example.test A", "NXDOMAIN")
	before, err = c.until(ctx, "thirdfence")
	s.do(err)
	for _, p := range before {
		if bytes.Contains(p.payload, []byte("quiet")) || bytes.Contains(p.payload, label(id)) {
			s.t.Errorf("the name of a container was asked for outside: %s", p)
		}
	}
	s.docker(ctx, "rm -f vaultkeeper plain searcher directed escaper quietone asker")
	s.docker(ctx, "network rm vault quiet")
}

// asksEverything asks for what is no container's from within an internal network, and gets no answer of the world's;
// and so do programs that ask the world directly.
func (s *namesScene) asksEverything(ctx context.Context, container string) error {
	err := inside(s.netns(ctx, container), func() error {
		for _, text := range []string{
			worldName + " A", worldName + " AAAA", worldName + " MX", worldName + " ANY", "text.example.test TXT", "text.example.test CH TXT",
			"nobody A", "nobody AAAA", "nobody TXT", "vaultkeeper.corp.example.test A", "nobody.corp.example.test AAAA", "web A", "web.office A",
			"_http._tcp.vaultkeeper SRV", "x.vaultkeeper A", reverseOf("10.1.2.3") + " PTR", reverseOf("192.168.0.1") + " PTR",
			reverseOf("172.30.0.80") + " PTR", reverseOf("fd00:a::80") + " PTR", reverseOf(beyondAddr4) + " PTR", ". NS",
		} {
			for _, network := range []string{"udp", "tcp"} {
				a, err := question{network: network, text: text}.here()
				if err != nil {
					return err
				}
				if len(a.records) > 0 {
					return fmt.Errorf("%s over %s: %s", text, network, a)
				}
			}
		}
		if a, err := (question{network: "udp", text: "vaultkeeper A"}).here(); err != nil || a.String() != "NOERROR 172.31.0.10" {
			return errors.Join(fmt.Errorf("vaultkeeper: %s", a), err)
		}
		return asksTheWorld()
	})
	if err == nil { // and by the C library's rules: search domains are added
		_, err = s.h.Docker(ctx, "exec", container, "sh", "-c", "! nslookup nobody && ! nslookup world.example.test && ! nslookup 10.1.2.3")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", container, err)
	}
	return nil
}

// asksTheWorld asks the world's name server without the resolver in between.
func asksTheWorld() error {
	for _, server := range []string{worldAddr4, worldAddr6, beyondAddr4, beyondAddr6} {
		for _, network := range []string{"udp", "tcp"} {
			conn, err := net.DialTimeout(network, net.JoinHostPort(server, "53"), mayAnswer)
			if err != nil {
				continue
			}
			_ = conn.SetDeadline(time.Now().Add(mayAnswer))
			query, err := question{text: worldName + " A"}.message().Pack()
			if err == nil {
				_, _ = conn.Write(query)
				if n, read := conn.Read(make([]byte, frameBytes)); read == nil {
					err = fmt.Errorf("%s over %s answered with %d bytes", server, network, n)
				}
			}
			if err = errors.Join(err, conn.Close()); err != nil {
				return err
			}
		}
	}
	return nil
}

// asksForContainers asks for a container by all its names, with all there is to ask about.
func (s *namesScene) asksForContainers(ctx context.Context, space, id string) {
	s.t.Helper()
	names := []string{"quietone", "quietalias", "quiethost", "quietlink", id}
	for _, name := range names {
		names = append(names, name+".quiet", strings.ToUpper(name), name+".QUIET")
	}
	addr := s.docker(ctx, "inspect -f {{.NetworkSettings.Networks.quiet.IPAddress}} quietone")
	s.do(inside(space, func() error {
		for _, name := range names {
			for _, kind := range []string{"A", "AAAA", "MX", "TXT", "ANY", "SRV", "HTTPS", "NS", "SOA", "CNAME"} {
				for _, network := range []string{"udp", "tcp"} {
					a, err := question{network: network, text: name + " " + kind}.here()
					if err != nil {
						return err
					}
					if a.rcode != "NOERROR" || (kind == "A") != (len(a.records) == 1) {
						return fmt.Errorf("%s %s over %s: %s", name, kind, network, a)
					}
				}
			}
		}
		a, err := question{network: "udp", text: reverseOf(addr) + " PTR"}.here()
		if err == nil && a.String() != "NOERROR quietone.quiet." {
			err = fmt.Errorf("the name of %s: %s", addr, a)
		}
		return err
	}))
}
