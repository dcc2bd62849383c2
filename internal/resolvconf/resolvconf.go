// Package resolvconf reads resolv.conf(5), the file that says whom a host asks for
// names.
//
// It is pure: it is given the text, and knows where the files are.
package resolvconf

import (
	"net/netip"
	"slices"
	"strings"
)

// Path is where a host has the file, and SystemdPath where systemd-resolved says whom
// it asks itself (systemd-resolved.service(8)).
const (
	Path        = "/etc/resolv.conf"
	SystemdPath = "/run/systemd/resolve/resolv.conf"
)

// Conf is what a resolv.conf(5) says, in its order.
type Conf struct {
	Servers []netip.Addr
	Search  []string
	Options []string
	// Other are the lines with further keywords, such as sortlist.
	Other []string
	// Bad are the name servers that are no addresses, as written.
	Bad []string
}

// Parse reads the text of a resolv.conf. It never fails: whoever wrote
// the file, the lines that make sense count. As in the C library the last of
// `search` and `domain` wins, and options add up.
func Parse(text []byte) Conf {
	var c Conf
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		words := strings.Fields(line)
		c.take(words[0], words[1:])
	}
	return c
}

func (c *Conf) take(keyword string, values []string) {
	if i := slices.IndexFunc(values, isComment); i >= 0 {
		values = values[:i]
	}
	if len(values) == 0 {
		return
	}
	switch keyword {
	case "nameserver":
		if a, err := netip.ParseAddr(values[0]); err == nil {
			c.Servers = append(c.Servers, a)
		} else {
			c.Bad = append(c.Bad, values[0])
		}
	case "domain":
		c.Search = values[:1]
	case "search":
		c.Search = values
	case "options":
		c.Options = append(c.Options, values...)
	default:
		c.Other = append(c.Other, keyword+" "+strings.Join(values, " "))
	}
}

func isComment(word string) bool { return word[0] == '#' || word[0] == ';' }

// OnlyStub tells whether nobody is named but the stub of systemd-resolved, which only
// its own host can reach.
func (c Conf) OnlyStub() bool {
	return len(c.Servers) == 1 && c.Servers[0] == netip.AddrFrom4([4]byte{127, 0, 0, 53})
}
