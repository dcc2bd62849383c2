package rtnl

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The attributes of an extended acknowledgement (enum nlmsgerr_attrs).
const ackMessage = 1

// walk hands over the messages of a datagram that answer the request with number
// seq, and reports whether the answer is complete. A refusal by the kernel is
// its error. Messages of earlier requests, which came too late, are passed over.
// Hostile bytes yield an error, never a panic.
func walk(b []byte, seq uint32, each func(netlink.Header, []byte)) (done bool, err error) {
	for len(b) > 0 {
		if len(b) < unix.NLMSG_HDRLEN {
			return false, fmt.Errorf("netlink datagram ends within a header: %d bytes", len(b))
		}
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return false, fmt.Errorf("netlink message of %d bytes in a datagram of %d", length, len(b))
		}
		h := netlink.Header{
			Type:     netlink.HeaderType(binary.NativeEndian.Uint16(b[4:])),
			Flags:    netlink.HeaderFlags(binary.NativeEndian.Uint16(b[6:])),
			Sequence: binary.NativeEndian.Uint32(b[8:]),
		}
		msg := b[unix.NLMSG_HDRLEN:length]
		b = b[min(align(length), len(b)):]
		switch {
		case h.Sequence != seq:
		case h.Type == netlink.Error, h.Type == netlink.Done:
			return true, refusal(h, msg)
		default:
			each(h, msg)
		}
	}
	return false, nil
}

func align(n int) int { return (n + 3) &^ 3 }

// refusal reads struct nlmsgerr, or the error number that may end a dump, into
// "<error number's text>: <the kernel's words>"; nil if it is an acknowledgement.
func refusal(h netlink.Header, msg []byte) error {
	if len(msg) < 4 {
		return nil // the end of a dump on old kernels
	}
	number := int32(binary.NativeEndian.Uint32(msg))
	if number >= 0 {
		return nil
	}
	err := unix.Errno(-number)
	if h.Flags&netlink.AcknowledgeTLVs == 0 {
		return err
	}
	// Between the number and the attributes an error repeats the request, or
	// only its header if it is capped.
	skip := 4
	if h.Type == netlink.Error {
		skip += unix.NLMSG_HDRLEN
		if h.Flags&netlink.Capped == 0 && len(msg) >= skip {
			skip = 4 + align(int(min(binary.NativeEndian.Uint32(msg[4:]), uint32(len(msg)))))
		}
	}
	words := ""
	if Attributes(msg, skip, func(ad *netlink.AttributeDecoder) {
		if ad.Type() == ackMessage {
			words = strings.TrimSuffix(ad.String(), ".")
		}
	}) == nil && words != "" {
		return fmt.Errorf("%w: %s", err, words)
	}
	return err
}

// Attributes calls each for every attribute of a message whose fixed header has
// the given length. Hostile input yields an error, never a panic.
func Attributes(msg []byte, header int, each func(*netlink.AttributeDecoder)) error {
	if len(msg) < header {
		return fmt.Errorf("netlink message of %d bytes is shorter than its header of %d", len(msg), header)
	}
	ad, err := netlink.NewAttributeDecoder(msg[header:])
	if err != nil {
		return err
	}
	for ad.Next() {
		each(ad)
	}
	return ad.Err()
}
