package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBorder forges frames in containers: to groups that a bridge does not forward (the class of CVE-2020-13401), and, after somebody has
// taken all rules away, to the host's 127.0.0.1 and out of an internal network.
func TestBorder(t *testing.T) {
	l := New(t, Options{Engine: needEngine(t)})
	h := l.Host(1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := errors.Join(h.Start(ctx), h.Load(ctx, "busybox")); err != nil {
		t.Fatal(err)
	}
	must(t)(h.Docker(ctx, "network", "create", "--internal", "--subnet", "10.77.0.0/24", "inside"))
	b := &border{t: t, h: h, world: l.World(), ctx: ctx}
	plain, able := b.run("plain"), b.run("able", "--cap-add", "NET_ADMIN")
	shut := b.run("shut", "--network", "inside")
	b.advertise(plain, able, shut)
	b.flush(plain, able, shut)
	must(t)(h.Docker(ctx, "rm", "-f", "plain", "able", "shut"))
	must(t)(h.Docker(ctx, "network", "rm", "inside"))
}

// border is a host whose border is tried.
type border struct {
	t     *testing.T
	h     *Host
	world *World
	ctx   context.Context // of the test
}

// insider is a container that forges.
type insider struct {
	name, namespace string
	mac, gateway    net.HardwareAddr
	addr, host      netip.Addr
}

func (b *border) run(name string, options ...string) insider {
	b.t.Helper()
	args := append(append([]string{"run", "-d", "--name", name}, options...), "busybox", "sleep", "1000")
	must(b.t)(b.h.Docker(b.ctx, args...))
	text := must(b.t)(b.h.Docker(b.ctx, "inspect", "-f", "{{.Id}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{.MacAddress}}{{end}}", name))
	var id, addr, mac string
	if _, err := fmt.Sscan(text, &id, &addr, &mac); err != nil {
		b.t.Fatalf("%q: %v", text, err)
	}
	i := insider{name: name, namespace: fmt.Sprintf("/proc/%d/root/run/netns/%.12s", b.h.PID(), id), addr: netip.MustParseAddr(addr)}
	first := i.addr.As4()
	first[3] = 1 // is the bridge's address, and its MAC address is the way to the host
	i.host = netip.AddrFrom4(first)
	at := must(b.t)(b.h.Run(b.ctx, "sh", "-c", "cat /sys/class/net/$(ip -o addr | grep ' "+i.host.String()+"/' | cut -d' ' -f2)/address"))
	var err, gatewayErr error
	i.mac, err = net.ParseMAC(mac)
	i.gateway, gatewayErr = net.ParseMAC(strings.TrimSpace(at))
	if err := errors.Join(err, gatewayErr); err != nil {
		b.t.Fatal(name, err)
	}
	return i
}

// send sends a frame from the container's eth0.
func (b *border) send(i insider, dst net.HardwareAddr, etherType uint16, packet []byte) {
	b.t.Helper()
	frame := append(append(append([]byte{}, dst...), i.mac...), byte(etherType>>8), byte(etherType))
	err := inside(i.namespace, func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, append(frame, packet...), 0, &unix.SockaddrLinklayer{Ifindex: link.Index, Halen: 6})
	})
	if err != nil {
		b.t.Fatalf("send from %s: %v", i.name, err)
	}
}

// advertise has containers call themselves routers, to a host that would believe it.
func (b *border) advertise(from ...insider) {
	b.t.Helper()
	must(b.t)(b.h.Run(b.ctx, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=0"))
	for _, i := range from {
		for _, group := range []string{"01:80:c2:00:00:0e", "01:80:c2:00:00:02", "01:80:c2:00:00:0f", "33:33:00:00:00:01"} {
			dst, _ := net.ParseMAC(group)
			b.send(i, dst, unix.ETH_P_IPV6, routerAdvertisement(i.mac))
		}
	}
	for range 2 { // the second time, what is late has come
		routes := must(b.t)(b.h.Run(b.ctx, "sh", "-c", "ip -6 route show table all"))
		if strings.Contains(routes, "proto ra") && strings.Contains(routes, "bad") || strings.Contains(routes, "fe80::bad") || strings.Contains(routes, "2001:db8:bad:") {
			b.t.Errorf("the host has routes from a container:\n%s", routes)
		}
		must(b.t)(b.h.Docker(b.ctx, "exec", "plain", "ping", "-c", "1", "-W", "2", "172.17.0.1"))
	}
}

// routerAdvertisement is from fe80::bad, a default router on the link of 2001:db8:bad::/64 (RFC 4861).
func routerAdvertisement(mac net.HardwareAddr) []byte {
	src, dst := netip.MustParseAddr("fe80::bad").AsSlice(), netip.MustParseAddr("ff02::1").AsSlice()
	body := []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0} // for 1800 s
	body = append(body, 3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0)
	body = append(body, netip.MustParseAddr("2001:db8:bad::").AsSlice()...)
	body = append(append(body, 1, 1), mac...)
	pseudo := append(append(append([]byte{}, src...), dst...), 0, 0, 0, byte(len(body)), 0, 0, 0, 58)
	binary.BigEndian.PutUint16(body[2:], internetChecksum(append(pseudo, body...)))
	head := []byte{0x60, 0, 0, 0, 0, byte(len(body)), 58, 255}
	return append(append(append(head, src...), dst...), body...)
}

// datagram is IPv4 and UDP.
func datagram(src, dst netip.Addr, port uint16, text string) []byte {
	udp := binary.BigEndian.AppendUint16([]byte{0x30, 0x39}, port)
	udp = append(binary.BigEndian.AppendUint16(udp, uint16(8+len(text))), 0, 0) // no checksum: RFC 768
	udp = append(udp, text...)
	ip := append([]byte{0x45, 0, 0, byte(20 + len(udp)), 0, 1, 0, 0, 64, 17, 0, 0}, src.AsSlice()...)
	ip = append(ip, dst.AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], internetChecksum(ip))
	return append(ip, udp...)
}

// internetChecksum is that of RFC 1071, of an even number of bytes.
func internetChecksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// flush takes the rules away, and sees what is open then.
func (b *border) flush(plain, able, shut insider) {
	b.t.Helper()
	listen := func(namespace, address string) net.PacketConn {
		var c net.PacketConn
		if err := inside(namespace, func() (err error) { c, err = net.ListenPacket("udp4", address); return err }); err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { c.Close() })
		return c
	}
	host := "/proc/" + strconv.Itoa(b.h.PID()) + "/ns/net"
	local, onBridge := listen(host, "127.0.0.1:9998"), listen(host, "172.17.0.1:9998")
	outside := listen("/proc/"+strconv.Itoa(b.world.PID())+"/ns/net", ":9998")
	must(b.t)(b.h.Run(b.ctx, "nft", "flush", "ruleset"))
	loopback, gateway := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("172.17.0.1")
	for _, i := range []insider{plain, able, shut} {
		b.send(i, i.gateway, unix.ETH_P_IP, datagram(i.addr, loopback, 9998, "forged"))
		b.send(i, i.gateway, unix.ETH_P_IP, datagram(loopback, i.host, 9998, "forged"))
	}
	b.send(shut, shut.gateway, unix.ETH_P_IP, datagram(shut.addr, netip.MustParseAddr(worldAddr4), 9998, "forged"))
	b.send(shut, shut.gateway, unix.ETH_P_IP, datagram(shut.addr, gateway, 9998, "forged"))
	b.send(plain, plain.gateway, unix.ETH_P_IP, datagram(plain.addr, gateway, 9998, "honest"))
	if err := inside(host, func() error { return errors.Join(say("127.0.0.1:9998"), say(worldAddr4+":9998")) }); err != nil {
		b.t.Fatal(err)
	}
	for where, c := range map[string]net.PacketConn{"the host's 127.0.0.1": local, "the host's address on docker0": onBridge, "the world": outside} {
		text := make([]byte, 100)
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second)) // a UDP socket takes any
		n, from, err := c.ReadFrom(text)
		if err != nil || string(text[:n]) != "honest" {
			b.t.Errorf("%s got %q from %v first: %v", where, text[:n], from, err)
		}
	}
}

// say sends an honest datagram.
func say(to string) error {
	c, err := net.Dial("udp4", to)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte("honest"))
	return err
}
