package border

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
)

// watch collects where forged frames turn up. A frame is known by its mark and by what
// it is: what the host itself says about it, quoting it, is none.
type watch struct {
	t    *testing.T
	sent []Forged
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex // guards what follows
	seen    []map[string]bool
	sources map[int]netip.Addr // under which a frame left the host
	fences  map[string]uint32  // the last one that came through, by eye
}

// eye is a socket that frames are looked for at.
type eye struct {
	where func(from unix.Sockaddr) string // empty for what does not count
	// raw is the protocol of a socket that gets what begins with the IP header, or is
	// behind that of IPv6 (raw(7)).
	raw, family int
}

// fenceID is more than any frame's: what has it is a fence.
const fenceID = 1 << 24

func newWatch(t *testing.T, sent []Forged) *watch {
	w := &watch{t: t, sent: sent, stop: make(chan struct{}), seen: make([]map[string]bool, len(sent)), sources: map[int]netip.Addr{}, fences: map[string]uint32{}}
	for i := range w.seen {
		w.seen[i] = map[string]bool{}
	}
	t.Cleanup(func() { close(w.stop); w.done.Wait() })
	return w
}

// open opens a socket in a namespace and reads it until the test ends.
func (w *watch) open(n *namespaces.Namespace, name string, e eye, socket ...int) {
	w.t.Helper()
	var fd int
	n.Do(func() (err error) {
		if fd, err = unix.Socket(socket[0], unix.SOCK_RAW|unix.SOCK_CLOEXEC, socket[1]); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000}),
		)
	})
	w.done.Go(func() {
		defer unix.Close(fd)
		b := make([]byte, 2048)
		for {
			select {
			case <-w.stop:
				return
			default:
			}
			size, from, err := unix.Recvfrom(fd, b, 0)
			if err != nil {
				continue // nothing for a while
			}
			if where := e.where(from); where != "" {
				w.note(name, where, e.framed(b[:size]), e.raw != 0)
			}
		}
	})
}

// framed puts headers before what a raw socket gives, enough of them for isIn.
func (e eye) framed(b []byte) []byte {
	switch {
	case e.raw == 0:
		return b
	case e.family == unix.AF_INET:
		return slices.Concat(make([]byte, 12), []byte{8, 0}, b)
	}
	header := make([]byte, 14+40)
	binary.BigEndian.PutUint16(header[12:], frames.IPv6)
	header[14+6] = byte(e.raw)
	return append(header, b...)
}

// note takes down a frame or packet.
func (w *watch) note(name, where string, b []byte, raw bool) {
	i := bytes.Index(b, frames.Mark(0)[:4])
	if i < 0 || i+8 > len(b) {
		return
	}
	id := binary.BigEndian.Uint32(b[i+4:])
	w.mu.Lock()
	defer w.mu.Unlock()
	if id >= fenceID {
		w.fences[name] = max(w.fences[name], id)
		return
	}
	if int(id) >= len(w.sent) || !w.sent[id].isIn(b) {
		return
	}
	w.seen[id][where] = true
	if raw {
		return
	}
	if ip := binary.BigEndian.Uint16(b[12:]); ip == frames.IPv4 || ip == frames.IPv6 {
		w.sources[int(id)] = frames.Source(b)
	}
}

// isIn tells whether what was seen on a cable is the frame, be it translated, and not
// an answer to it or an error about it.
func (f Forged) isIn(seen []byte) bool {
	kinds := [2]uint16{binary.BigEndian.Uint16(f.untagged()[12:]), binary.BigEndian.Uint16(seen[12:])}
	if kinds[1] == frames.VLAN {
		return f.tags > 0
	}
	if kinds[0] != kinds[1] {
		return false
	}
	protocol, header := 23, 34
	switch kinds[0] {
	case frames.IPv4:
	case frames.IPv6:
		protocol, header = 20, 54
	default:
		return true
	}
	own := f.untagged()
	if len(seen) < len(own) || own[protocol] != seen[protocol] {
		return false
	}
	isICMP := own[protocol] == frames.ICMP || own[protocol] == frames.ICMPv6
	return !isICMP || own[header] == seen[header]
}

// everywhere opens an eye at every place, and at the host's stack: where packets are
// handed to sockets, where other frames are handed to whoever has asked for their
// EtherType, and where anything is handed to a port.
func (w *watch) everywhere(l *firewalltest.Lab) {
	ports := map[int]bool{}
	for _, p := range firewalltest.Places() {
		w.open(l.Spaces[p.Name], p.Name, eye{where: arrivesAt(p.Name)}, unix.AF_PACKET, htons(unix.ETH_P_ALL))
		if p.Bridge != "" {
			link, err := l.Host.Link.LinkByName(p.Host)
			l.Host.Must(err)
			ports[link.Attrs().Index] = true
		}
	}
	for _, kind := range []int{unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_ARP, 0x88cc, unix.ETH_P_PAE, frames.Test, unix.ETH_P_802_2} {
		isIP := kind == unix.ETH_P_IP || kind == unix.ETH_P_IPV6
		where := func(from unix.Sockaddr) string {
			switch ll, ok := from.(*unix.SockaddrLinklayer); {
			case ok && ports[ll.Ifindex]:
				return atPort
			case isIP: // rules come after this
				return ""
			}
			return atHost
		}
		w.open(l.Host, "frames of type "+strconv.FormatInt(int64(kind), 16), eye{where: where}, unix.AF_PACKET, htons(kind))
	}
	host := func(unix.Sockaddr) string { return atHost }
	for _, protocol := range []int{1, 2, 6, 17, 47, 253} {
		w.open(l.Host, "IPv4 "+strconv.Itoa(protocol), eye{where: host, raw: protocol, family: unix.AF_INET}, unix.AF_INET, protocol)
	}
	for _, protocol := range []int{6, 17, 47, 58, 253} {
		w.open(l.Host, "IPv6 "+strconv.Itoa(protocol), eye{where: host, raw: protocol, family: unix.AF_INET6}, unix.AF_INET6, protocol)
	}
}

// arrivesAt leaves out what a place has sent itself.
func arrivesAt(name string) func(unix.Sockaddr) string {
	return func(from unix.Sockaddr) string {
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			return ""
		}
		return name
	}
}

func htons(v int) int {
	return int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, uint16(v))))
}

// settled waits until fences have come through at every eye: all that was sent before
// has been where it went. Eyes that no honest frame gets to have seen what they will
// when the others have.
func (w *watch) settled(number uint32, fences func(id int), eyes []string) {
	w.t.Helper()
	fences(int(fenceID + number))
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) { // poll
		w.mu.Lock()
		missing := slices.DeleteFunc(slices.Clone(eyes), func(e string) bool { return w.fences[e] >= fenceID+number })
		w.mu.Unlock()
		if len(missing) == 0 {
			return
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Fatalf("fence %d has not come through everywhere: %v", number, w.fences)
}

// source is the address that a frame had where it was seen last.
func (w *watch) source(id int) netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sources[id]
}

// where is where a frame was seen, in order.
func (w *watch) where(id int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for where := range w.seen[id] {
		out = append(out, where)
	}
	slices.Sort(out)
	return out
}
