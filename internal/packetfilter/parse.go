package packetfilter

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"github.com/linkspan/linkspan/internal/model"
)

// Bounds of what a user may write.
const (
	maxText  = 4096 // bytes
	maxDepth = 64   // parentheses and "not" within each other
)

// Known is what the filter's user may call by a name instead of an address: a container's
// name leads to its addresses. It may be nil.
type Known func(name string) []netip.Addr

// Parse reads a filter; nothing, or blanks alone, takes every frame. Errors are Invalid, and
// say where it was not understood and what can be written.
func Parse(text string, known Known) (Filter, error) {
	if len(text) > maxText {
		return Filter{}, model.Errorf(model.Invalid, "the filter is longer than %d bytes", maxText)
	}
	p := parser{words: split(text), known: known}
	if len(p.words) == 0 {
		return Filter{allOf{}}, nil
	}
	root, err := p.either(0)
	if err == nil && p.at < len(p.words) {
		err = p.fail("unexpected %.64q", p.words[p.at])
	}
	if err != nil {
		return Filter{}, err
	}
	return Filter{root}, nil
}

// split cuts a text into words; parentheses and "!" are words of their own.
func split(text string) (out []string) {
	from := -1
	end := func(i int) {
		if from >= 0 {
			out, from = append(out, text[from:i]), -1
		}
	}
	for i, c := range text {
		switch {
		case unicode.IsSpace(c):
			end(i)
		case c == '(' || c == ')' || c == '!':
			end(i)
			out = append(out, string(c))
		case from < 0:
			from = i
		}
	}
	end(len(text))
	return out
}

type parser struct {
	words []string
	at    int
	known Known
}

// fail says what was not understood, and what can be written.
func (p *parser) fail(format string, args ...any) error {
	return &model.Error{
		Kind: model.Invalid, Err: fmt.Errorf("invalid filter: "+format, args...),
		Way: "write ip, ip6, arp, tcp, udp, sctp, icmp, icmp6, [src|dst] host ADDRESS|CONTAINER, [src|dst] net PREFIX, " +
			"[tcp|udp|sctp] [src|dst] port PORT|FIRST-LAST, with and, or, not and parentheses",
	}
}

// word returns the next word, empty at the end.
func (p *parser) word() string {
	if p.at == len(p.words) {
		return ""
	}
	return p.words[p.at]
}

// take goes on if the next word is one of these.
func (p *parser) take(words ...string) bool {
	for _, w := range words {
		if p.word() == w && w != "" {
			p.at++
			return true
		}
	}
	return false
}

func (p *parser) either(depth int) (node, error) {
	return p.chain(depth, p.both, func(n []node) node { return anyOf(n) }, "or", "||")
}

func (p *parser) both(depth int) (node, error) {
	return p.chain(depth, p.one, func(n []node) node { return allOf(n) }, "and", "&&")
}

// chain reads what stands between the words that join it.
func (p *parser) chain(depth int, part func(int) (node, error), join func([]node) node, words ...string) (node, error) {
	var parts []node
	for {
		n, err := part(depth)
		if err != nil {
			return nil, err
		}
		if parts = append(parts, n); p.take(words...) {
			continue
		}
		if len(parts) == 1 {
			return n, nil
		}
		return join(parts), nil
	}
}

func (p *parser) one(depth int) (node, error) {
	if depth > maxDepth {
		return nil, p.fail("more than %d parentheses within each other", maxDepth)
	}
	switch {
	case p.take("not", "!"):
		n, err := p.one(depth + 1)
		return negated{n}, err
	case p.take("("):
		n, err := p.either(depth + 1)
		if err == nil && !p.take(")") {
			err = p.fail("a parenthesis is not closed")
		}
		return n, err
	}
	return p.primitive()
}

// primitive reads a condition without parts.
func (p *parser) primitive() (node, error) {
	ports := []uint32{protoTCP, protoUDP, protoSCTP}
	switch w := p.word(); w {
	case "":
		return nil, p.fail("it ends where a condition is to stand")
	case "ip":
		p.at++
		return ethernet(typeIPv4), nil
	case "ip6":
		p.at++
		return ethernet(typeIPv6), nil
	case "arp":
		p.at++
		return ethernet(typeARP), nil
	case "icmp":
		p.at++
		return allOf{ethernet(typeIPv4), equals(ip4Protocol, 1, protoICMP)}, nil
	case "icmp6":
		p.at++
		return allOf{ethernet(typeIPv6), equals(ip6Next, 1, protoICMP6)}, nil
	case "tcp", "udp", "sctp":
		p.at++
		protocol := map[string]uint32{"tcp": protoTCP, "udp": protoUDP, "sctp": protoSCTP}[w]
		if next := p.word(); next != "src" && next != "dst" && next != "port" && next != "portrange" {
			return transport(protocol), nil
		}
		ports = []uint32{protocol}
	}
	d := direction("")
	if w := p.word(); p.take("src", "dst") {
		d = direction(w)
	}
	return p.object(d, ports)
}

// object reads host, net or port, and what follows.
func (p *parser) object(d direction, ports []uint32) (node, error) {
	what := p.word()
	p.at = min(p.at+1, len(p.words))
	value := p.word()
	p.at = min(p.at+1, len(p.words))
	bare := len(ports) > 1 // no protocol stands before it
	switch {
	case what == "port" || what == "portrange":
		first, last, ok := portRange(value)
		if !ok {
			return nil, p.fail("%.64q is no port", value)
		}
		return withPort(first, last, d, ports...), nil
	case what == "host" && bare:
		return p.host(value, d)
	case what == "net" && bare:
		n, err := netip.ParsePrefix(value)
		if err != nil {
			return nil, p.fail("%.64q is no prefix such as 10.0.0.0/8", value)
		}
		return inNet(n.Masked(), d), nil
	}
	return nil, p.fail("%.64q is not known", what)
}

// host is an address, or a name that stands for some.
func (p *parser) host(value string, d direction) (node, error) {
	if a, err := netip.ParseAddr(value); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return inNet(netip.PrefixFrom(a, a.BitLen()), d), nil
	}
	var addrs []netip.Addr
	if p.known != nil {
		addrs = p.known(value)
	}
	if len(addrs) == 0 {
		return nil, p.fail("%.64q is no address, and no running container that has one", value)
	}
	out := anyOf{}
	for _, a := range addrs {
		out = append(out, inNet(netip.PrefixFrom(a, a.BitLen()), d))
	}
	return out, nil
}

// portRange reads "80" or "8000-8010".
func portRange(text string) (first, last uint16, ok bool) {
	a, b, ranged := strings.Cut(text, "-")
	if !ranged {
		b = a
	}
	from, err1 := strconv.ParseUint(a, 10, 16)
	to, err2 := strconv.ParseUint(b, 10, 16)
	return uint16(from), uint16(to), err1 == nil && err2 == nil && from <= to
}
