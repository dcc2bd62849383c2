package message

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Canonical returns a name in the form in which names are compared: DNS ignores the case of
// ASCII letters only (RFC 4343).
func Canonical(name string) string {
	raw := []byte(strings.TrimSuffix(name, "."))
	for i, c := range raw {
		raw[i] = lower(c)
	}
	return string(raw)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// AppendFolded appends a question in wire form, the name in lower case. The
// lengths of labels can be folded along with the letters: they are at most 63,
// below every letter.
func AppendFolded(buf, question []byte) []byte {
	name := len(question) - 4
	for _, c := range question[:name] {
		buf = append(buf, lower(c))
	}
	return append(buf, question[name:]...)
}

// skipName returns the offset behind the name at offset at; -1 if it does not
// end inside msg.
func skipName(msg []byte, at int) int {
	for at < len(msg) {
		n := int(msg[at])
		switch {
		case n == 0:
			return at + 1
		case n >= 0xc0:
			return at + 2
		case n > 63:
			return -1
		}
		at += 1 + n
	}
	return -1
}

// skipBack is skipName for names whose pointer points to before themselves.
func skipBack(msg []byte, at int) int {
	end := skipName(msg, at)
	if end < 0 || end > len(msg) {
		return -1
	}
	if end-at >= 2 && msg[end-2] >= 0xc0 {
		to := int(binary.BigEndian.Uint16(msg[end-2:]) & 0x3fff)
		if to < HeaderSize || to >= at {
			return -1
		}
	}
	return end
}

// ReverseAddr returns the address that a reverse name in canonical form is about
// (RFC 1035 section 3.5, RFC 3596 section 2.5).
func ReverseAddr(name []byte) (netip.Addr, bool) {
	const v4, v6 = ".in-addr.arpa", ".ip6.arpa"
	if rest, ok := cutSuffix(name, v4); ok {
		return reverse4(rest)
	}
	if rest, ok := cutSuffix(name, v6); ok {
		return reverse6(rest)
	}
	return netip.Addr{}, false
}

// InDomain tells whether a name is a domain or in it, both in canonical form. Every
// name is in the domain "".
func InDomain(name []byte, domain string) bool {
	rest, ok := cutSuffix(name, domain)
	return ok && (domain == "" || len(rest) == 0 || rest[len(rest)-1] == '.')
}

// Wire returns a name in wire form; false if it cannot be said in DNS.
func Wire(name string) ([]byte, bool) {
	wire := make([]byte, MaxName)
	n, err := dns.PackDomainName(name+".", wire, 0, nil, false)
	if err != nil {
		return nil, false
	}
	return wire[:n:n], true
}

func cutSuffix(name []byte, suffix string) ([]byte, bool) {
	n := len(name) - len(suffix)
	if n < 0 || string(name[n:]) != suffix {
		return nil, false
	}
	return name[:n], true
}

func reverse4(name []byte) (netip.Addr, bool) {
	var a [4]byte
	i, value, digits := 3, 0, 0
	for _, c := range name {
		switch {
		case c == '.' && digits > 0 && i > 0:
			a[i] = byte(value)
			i, value, digits = i-1, 0, 0
		case '0' <= c && c <= '9' && (digits == 0 || value > 0):
			value, digits = value*10+int(c-'0'), digits+1
			if value > 255 {
				return netip.Addr{}, false
			}
		default:
			return netip.Addr{}, false
		}
	}
	a[0] = byte(value)
	return netip.AddrFrom4(a), i == 0 && digits > 0
}

func reverse6(name []byte) (netip.Addr, bool) {
	var a [16]byte
	if len(name) != 63 {
		return netip.Addr{}, false
	}
	for i, c := range name {
		if i%2 == 1 {
			if c != '.' {
				return netip.Addr{}, false
			}
			continue
		}
		digit, ok := hexDigit(c)
		if !ok {
			return netip.Addr{}, false
		}
		nibble := 31 - i/2
		a[nibble/2] |= digit << (4 * (1 - nibble%2))
	}
	return netip.AddrFrom16(a), true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
