// Package names renders the files that give a container its names:
// /etc/hosts and /etc/resolv.conf, by Docker's rules.
//
// It is pure: text and values in, text and values out. It reads and writes no
// file, and knows no clock. The same input gives the same bytes.
package names

import (
	"net/netip"
	"slices"
	"strings"
)

// HostEntry is one line of a hosts file: an address and its names.
type HostEntry struct {
	Addr  netip.Addr
	Names []string
}

// String is the entry's line without its end.
func (e HostEntry) String() string {
	return e.Addr.String() + "\t" + strings.Join(e.Names, " ")
}

// HostsFile is what a container's /etc/hosts says.
type HostsFile struct {
	IPv6  bool        // the sandbox has IPv6 on its loopback interface
	Extra []HostEntry // --add-host and links of the default bridge, in order
	Own   []HostEntry // the container's own addresses, as OwnEntries gives them
}

// Hosts renders the file. Without IPv6 the names of its loopback and multicast
// addresses are left out, and so are own addresses of that family: a name must
// not lead to an address that does not work.
func Hosts(f HostsFile) []byte {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n")
	if f.IPv6 {
		b.WriteString("::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::\tip6-localnet\n" +
			"ff00::\tip6-mcastprefix\n" +
			"ff02::1\tip6-allnodes\n" +
			"ff02::2\tip6-allrouters\n")
	}
	for _, e := range f.Extra {
		b.WriteString(e.String() + "\n")
	}
	for _, e := range f.Own {
		if f.IPv6 || e.Addr.Unmap().Is4() {
			b.WriteString(e.String() + "\n")
		}
	}
	return []byte(b.String())
}

// OwnEntries returns the lines for a container's own addresses, one each, in
// the order given; addresses that are none are left out. The names are the full
// one, hostname.domainname, and in front of it the part before its first dot.
func OwnEntries(hostname, domainname string, addrs ...netip.Addr) []HostEntry {
	full := hostname
	if domainname != "" {
		full += "." + domainname
	}
	names := []string{full}
	if short, _, dotted := strings.Cut(full, "."); dotted && short != "" {
		names = append(names, short)
	}
	var out []HostEntry
	for _, a := range addrs {
		if a.IsValid() && hostname != "" {
			out = append(out, HostEntry{a, names})
		}
	}
	return out
}

// LinkEntry returns the line of `--link target:alias` on the default bridge:
// the alias, the target's host name and its name, each once.
func LinkEntry(addr netip.Addr, alias, hostname, name string) HostEntry {
	var names []string
	for _, n := range []string{alias, hostname, name} {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return HostEntry{addr, names}
}

// AddLines returns the text of a hosts file with entries appended, as a network
// that is connected does. Everything in text stays as it is, be it ours or a
// user's; an entry that is already there as a line is not added again.
func AddLines(text []byte, entries []HostEntry) []byte {
	out := slices.Clone(text)
	for _, e := range entries {
		if slices.ContainsFunc(lines(out), e.isLine) {
			continue
		}
		if len(out) > 0 && out[len(out)-1] != '\n' {
			out = append(out, '\n')
		}
		out = append(out, e.String()+"\n"...)
	}
	return out
}

// RemoveLines returns the text of a hosts file without the lines that are
// exactly those of entries. A line that a user changed is the user's and stays.
func RemoveLines(text []byte, entries []HostEntry) []byte {
	out := make([]byte, 0, len(text))
	for _, line := range lines(text) {
		if !slices.ContainsFunc(entries, func(e HostEntry) bool { return e.isLine(line) }) {
			out = append(out, line...)
		}
	}
	return out
}

// ReplaceLines returns the text of a hosts file in which lines that are exactly
// those of old have become those of next, one for one. Lines that are not there,
// because a user took them out, stay out.
func ReplaceLines(text []byte, old, next []HostEntry) []byte {
	out := make([]byte, 0, len(text))
	for _, line := range lines(text) {
		if i := slices.IndexFunc(old, func(e HostEntry) bool { return e.isLine(line) }); i >= 0 && i < len(next) {
			line = next[i].String() + "\n"
		}
		out = append(out, line...)
	}
	return out
}

// MoveLines returns the text of a hosts file in which every line of names, which
// is the line of a link, has the address of to. It is for a link whose target
// came back with another address.
func MoveLines(text []byte, to HostEntry) []byte {
	names := strings.Join(to.Names, " ")
	out := make([]byte, 0, len(text))
	for _, line := range lines(text) {
		addr, rest, tabbed := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		old, err := netip.ParseAddr(addr)
		if tabbed && rest == names && err == nil && old.Is4() == to.Addr.Is4() {
			line = to.String() + "\n"
		}
		out = append(out, line...)
	}
	return out
}

func (e HostEntry) isLine(line string) bool { return strings.TrimSuffix(line, "\n") == e.String() }

// lines splits text into lines with their ends.
func lines(text []byte) []string { return slices.Collect(strings.Lines(string(text))) }
