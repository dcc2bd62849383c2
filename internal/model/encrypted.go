package model

import (
	"encoding/base64"
	"net/netip"
)

// OptionEncrypted asks that what a network's containers on several hosts say to one another
// is encrypted between the hosts. That it is there counts, not its value, as with Docker.
const OptionEncrypted = "encrypted"

// Encrypted tells whether the network's packets shall leave the host only encrypted.
func (n Network) Encrypted() bool {
	_, asked := n.Options[OptionEncrypted]
	return asked && n.Overlay()
}

// keySize is that of a key of WireGuard, in bytes (Curve25519, RFC 7748).
const keySize = 32

// ValidKey tells whether text is a public key of WireGuard as wg(8) writes it: base64 of 32
// bytes that are not all zero, which is how WireGuard says that there is none.
func ValidKey(text string) bool {
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil && len(key) == keySize && len(text) == base64.StdEncoding.EncodedLen(keySize) && [keySize]byte(key) != [keySize]byte{}
}

// VXLANOverhead is how many bytes a VXLAN packet adds to a frame's payload on its way to an
// address: Ethernet, IP, UDP and VXLAN headers (RFC 7348).
func VXLANOverhead(to netip.Addr) int {
	if to.Is6() {
		return 70
	}
	return 50
}

// WireGuardOverhead is how many bytes WireGuard adds to a packet on its way to an address: IP
// and UDP headers, and 32 bytes of its own.
func WireGuardOverhead(to netip.Addr) int {
	if to.Is6() {
		return 80
	}
	return 60
}
