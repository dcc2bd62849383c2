package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
)

// TestForeignVLAN: what routers and servers say in a VLAN is not heard on its parent; a tag
// without a number is none.
func TestForeignVLAN(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	from, to := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::1")
	advertisement6 := packet6{mac, groupMAC(to), from, to, protocolICMPv6, hopsOnLink, slices.Concat([]byte{routerAdvertisement, 0, 0, 0}, make([]byte, 12))}.pack()
	offer4 := make([]byte, etherLen+20+udpLen+8) // as much of one as the filter looks at
	copy(offer4[6:], mac)
	binary.BigEndian.PutUint16(offer4[12:], typeIPv4)
	offer4[etherLen], offer4[etherLen+9] = 0x45, protocolUDP
	binary.BigEndian.PutUint16(offer4[etherLen+20+2:], clientPort)

	kerneltest.New(t).Do(t, func() {
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		for what, of := range map[string]struct {
			filter func(int) error
			frame  []byte
		}{"IPv4": {filter4, offer4}, "IPv6": {filter6, advertisement6}} {
			file := open(t, lo.Index, of.filter)
			for _, vlan := range []uint16{100, 0} {
				tag := binary.BigEndian.AppendUint16([]byte{0x81, 0}, 5<<13|vlan)
				say(t, file, lo.Index, slices.Concat(of.frame[:12], tag, of.frame[12:]))
				if got := heard(t, file); got == (vlan != 0) {
					t.Errorf("%s: heard of VLAN %d: %v", what, vlan, got)
				}
			}
			say(t, file, lo.Index, of.frame)
			if !heard(t, file) {
				t.Errorf("%s: not heard without a tag", what)
			}
		}
	})
}

// open returns a socket as Open makes it, which an interface without a MAC address has not.
func open(t *testing.T, index int, filter func(int) error) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("socket", err))
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := filter(fd); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		t.Fatal(os.NewSyscallError("bind", err))
	}
	return fd
}

func say(t *testing.T, fd, index int, frame []byte) {
	t.Helper()
	if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index, Halen: 6}); err != nil {
		t.Fatal(os.NewSyscallError("sendto", err))
	}
}

// heard takes what came, until nothing more does for a moment.
func heard(t *testing.T, fd int) (yes bool) {
	t.Helper()
	wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(wait, 100)
		if err == unix.EINTR {
			continue
		}
		if wait[0].Revents&unix.POLLIN == 0 {
			return yes
		}
		_, from, err := unix.Recvfrom(fd, make([]byte, maxFrame), 0)
		if err != nil {
			t.Fatal(os.NewSyscallError("recvfrom", err))
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype != unix.PACKET_OUTGOING {
			yes = true
		}
	}
}
