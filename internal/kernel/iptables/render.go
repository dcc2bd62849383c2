package iptables

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// hairpinMark is desired.AnswerMark as iptables writes it: on a packet that goes out by
// the bridge that it came in by, to a host port. It tells the bridge's table, which
// keeps containers apart, that the frame may pass, and POSTROUTING, which does not know
// where a packet came in. It ends where the packet leaves the host's namespace.
const hairpinMark = "0x8000000/0x8000000"

// render turns one policy row into the rules that stand for it. It is pure. Several rows
// may want the same rule.
func render(row desired.Row) ([]entry, error) {
	switch r := row.(type) {
	case desired.BridgePolicy:
		return renderBridge(r)
	case desired.AcceptMark:
		return renderAcceptMark(r)
	case desired.Masquerade:
		return renderMasquerade(r)
	case desired.ForwardDrop:
		return renderForwardDrop(r)
	case desired.Publish:
		return renderPublish(r)
	case desired.Direct:
		return renderDirect(r)
	case desired.DirectFrom:
		return renderDirectFrom(r)
	case desired.DirectICMP:
		return renderDirectICMP(r)
	case desired.Allow:
		return renderAllow(r)
	case desired.PortSecurity:
		return renderHome(r)
	case desired.Identity, desired.Elsewhere, desired.Transparent, desired.Served:
		return nil, nil // frames, where packets may come from, and what is for the host's own sockets: the tables beside
	}
	return nil, model.Errorf(model.NotImplemented, "iptables cannot express %q", row)
}

// renderBridge keeps the border of a network. An internal one is closed in mangle as
// well: before answers are let through, so that no connection that was made up gets out,
// and whatever DOCKER-USER accepts.
func renderBridge(r desired.BridgePolicy) ([]entry, error) {
	if err := interfaceName(r.Bridge); err != nil {
		return nil, err
	}
	in, out := "-i "+r.Bridge+" ", "-o "+r.Bridge+" "
	w := writer{families: families()}
	w.add(tableMangle, chainMarks, markRule, in+out+"-m conntrack --ctstate DNAT -j MARK --set-xmark "+hairpinMark)
	w.add(tableMangle, chainMarks, leavingRule, in+"-g "+chainLeaving)
	w.add(tableMangle, chainMarks, enteringRule, out+"-j "+chainEntering)
	w.add(tableMangle, chainLeaving, returnRule, out+"-j RETURN")
	w.add(tableFilter, chainBridge, 0, out+"-j "+chainDocker)
	w.add(tableFilter, chainDocker, closedRule, "! "+in+out+"-j DROP")
	if r.ICC {
		w.add(tableFilter, chainForward, network, in+"-j ACCEPT")
	} else {
		w.add(tableFilter, chainForward, network, in+out+"-j DROP")
		w.add(tableFilter, chainForward, network, in+"! "+out+"-j ACCEPT")
	}
	w.add(tableNAT, chainPostrouting, staysRule, out+"-j "+chainStays)
	if r.Internal {
		renderInternal(&w, r)
	} else {
		w.add(tableFilter, chainAnswers, 0, out+"-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
	}
	for family, open := range map[int]bool{four: r.Direct4, six: r.Direct6} {
		if w.families = []int{family}; !open { // before DOCKER-USER, whose accept would be final
			w.add(tableMangle, chainEntering, directRule, out+"-j DROP")
		}
	}
	w.families = []int{four}
	w.add(tableNAT, chainPostrouting, masqueradeRule, "-s 127.0.0.0/8 "+out+"-m conntrack --ctstate DNAT -j MASQUERADE")
	return w.out, w.err
}

// renderInternal: no way in or out. What of it was translated, and what is for the host
// itself, the tables beside drop.
func renderInternal(w *writer, r desired.BridgePolicy) {
	in, out := "-i "+r.Bridge+" ", "-o "+r.Bridge+" "
	w.add(tableMangle, chainMarks, internalRule, in+"! "+out+"-j DROP")
	w.add(tableMangle, chainMarks, internalRule, "! "+in+out+"-j DROP")
	w.add(tableFilter, chainInternal, 0, in+"! "+out+"-j DROP")
	w.add(tableFilter, chainInternal, 0, "! "+in+out+"-j DROP")
	if !r.ICC {
		w.add(tableMangle, chainMarks, internalRule, in+"-j DROP")
	}
}

// renderAcceptMark lets in what an administrator has marked. What comes to DOCKER goes out
// by a bridge that is not internal.
func renderAcceptMark(r desired.AcceptMark) ([]entry, error) {
	w := writer{families: families()}
	match := fmt.Sprintf("-m mark --mark %#x/%#x ", r.Mark, r.Mask)
	w.add(tableMangle, chainEntering, knownRule, match+"-j RETURN")
	w.add(tableFilter, chainDocker, openRule, match+"-j ACCEPT")
	return w.out, w.err
}

func renderMasquerade(r desired.Masquerade) ([]entry, error) {
	if err := interfaceName(r.Bridge); err != nil {
		return nil, err
	}
	if !r.Subnet.IsValid() || r.Source.IsValid() && r.Source.BitLen() != r.Subnet.Addr().BitLen() {
		return nil, model.Errorf(model.Invalid, "masquerade: %s as %s", r.Subnet, r.Source)
	}
	from := "-s " + r.Subnet.Masked().String() + " "
	w := writer{families: []int{familyOf(r.Subnet.Addr())}}
	w.add(tableMangle, chainEntering, forgedRule, from+"-j DROP")
	w.add(tableNAT, chainStays, 0, from+"-j ACCEPT")
	target := "MASQUERADE"
	if r.Source.IsValid() { // the bridge has that, not the subnet
		target = "SNAT --to-source " + r.Source.String()
		w.add(tableMangle, chainLeaving, astrayRule, from+"! -i "+r.Bridge+" -j MARK --set-xmark "+hairpinMark)
		w.add(tableNAT, chainPostrouting, astrayRule, from+"-m mark --mark "+hairpinMark+" -j MASQUERADE")
	}
	w.add(tableNAT, "POSTROUTING", atEnd, from+"! -o "+r.Bridge+" -m comment --comment "+ownComment+" -j "+target)
	return w.out, w.err
}

// renderForwardDrop: what is left at the end of FORWARD is between two interfaces that are
// not ours, and nobody else has accepted it, as with a policy of DROP.
func renderForwardDrop(r desired.ForwardDrop) ([]entry, error) {
	var w writer
	if r.IPv4 {
		w.families = append(w.families, four)
	}
	if r.IPv6 {
		w.families = append(w.families, six)
	}
	w.add(tableFilter, "FORWARD", atEnd, "-m conntrack ! --ctstate ESTABLISHED,RELATED -m comment --comment "+ownComment+" -j DROP")
	return w.out, w.err
}

// renderPublish leads host ports to a container, for all but its own network as Docker
// does, for that in a chain of ours. A range is one rule, numbered alike or not.
func renderPublish(r desired.Publish) ([]entry, error) {
	r.Host, r.To = r.Host.Unmap(), r.To.Unmap()
	switch {
	case r.Protocol.Number() == 0:
		return nil, model.Errorf(model.Invalid, "publish: protocol %q", r.Protocol)
	case !r.Host.IsValid() || !r.To.IsValid() || r.To.IsUnspecified() || r.Host.BitLen() != r.To.BitLen():
		return nil, model.Errorf(model.Invalid, "publish: from %v to %v", r.Host, r.To)
	case r.First == 0 || r.Last < r.First || r.ToFirst == 0 || r.ToFirst > 65535-(r.Last-r.First):
		return nil, model.Errorf(model.Invalid, "publish: ports %d to %d at %d", r.First, r.Last, r.ToFirst)
	}
	if err := interfaceName(r.Bridge); err != nil {
		return nil, err
	}
	w := writer{families: []int{familyOf(r.Host)}}
	in, class := "-i "+r.Bridge+" ", anyAddress
	original := "-m conntrack --ctstate DNAT --ctorigdstport " + ports(r.First, r.Last)
	if !r.Host.IsUnspecified() {
		class, original = oneAddress, original+" --ctorigdst "+r.Host.String()
	}
	rest := at(r.Protocol, r.Host, r.First, r.Last) + "-j DNAT --to-destination " + target(r)
	if r.Host.Is6() {
		rest = "! -s fe80::/10 " + rest
	}
	w.add(tableNAT, chainDocker, class, "! "+in+rest)
	w.add(tableNAT, chainDNAT, class, in+rest)
	w.add(tableFilter, chainDocker, openRule, at(r.Protocol, r.To, r.ToFirst, r.ToFirst+(r.Last-r.First))+"-o "+r.Bridge+" "+original+" -j ACCEPT")
	return w.out, w.err
}

// target is where a publication leads. With no port, a connection keeps its own.
func target(r desired.Publish) string {
	host, extent := r.To.String(), r.Last-r.First
	if extent > 0 && r.First == r.ToFirst {
		return host
	}
	if r.To.Is6() {
		host = "[" + host + "]"
	}
	if extent == 0 {
		return fmt.Sprintf("%s:%d", host, r.ToFirst)
	}
	return fmt.Sprintf("%s:%d-%d/%d", host, r.ToFirst, r.ToFirst+extent, r.First)
}

// renderDirect lets packets to a container's own address past the drop in mangle, and in.
func renderDirect(r desired.Direct) ([]entry, error) {
	match, err := directTo(r)
	if err != nil {
		return nil, err
	}
	if r.First != 0 {
		match += fmt.Sprintf("-m conntrack --ctorigdst %s --ctorigdstport %s ", r.Addr.Unmap(), ports(r.First, r.Last))
	}
	return direct(r.Bridge, r.Addr.Unmap(), match)
}

func renderDirectFrom(r desired.DirectFrom) ([]entry, error) {
	match, err := directTo(r.Direct)
	if err == nil {
		err = interfaceName(r.Interface)
	}
	if err == nil && r.Direct.First == 0 {
		err = model.Errorf(model.Invalid, "direct routing by %s: no ports", r.Interface)
	}
	if err != nil {
		return nil, err
	}
	return direct(r.Direct.Bridge, r.Direct.Addr.Unmap(), "-i "+r.Interface+" "+match)
}

func renderDirectICMP(r desired.DirectICMP) ([]entry, error) {
	match, err := directTo(desired.Direct{Bridge: r.Bridge, Addr: r.Addr})
	if err != nil {
		return nil, err
	}
	protocol := "-p icmp "
	if r.Addr.Unmap().Is6() {
		protocol = "-p ipv6-icmp "
	}
	return direct(r.Bridge, r.Addr.Unmap(), protocol+match)
}

// directTo matches the packets of a row.
func directTo(r desired.Direct) (string, error) {
	addr := r.Addr.Unmap()
	switch {
	case !addr.IsValid() || addr.IsUnspecified():
		return "", model.Errorf(model.Invalid, "direct routing: to %v", r.Addr)
	case r.First == 0:
		return "-d " + addr.String() + " ", interfaceName(r.Bridge)
	case r.Protocol.Number() == 0 || r.Last < r.First:
		return "", model.Errorf(model.Invalid, "direct routing: %s ports %d to %d", r.Protocol, r.First, r.Last)
	}
	return at(r.Protocol, addr, r.First, r.Last), interfaceName(r.Bridge)
}

func direct(bridge string, to netip.Addr, match string) ([]entry, error) {
	w := writer{families: []int{familyOf(to)}}
	w.add(tableMangle, chainEntering, knownRule, match+"-j RETURN")
	w.add(tableFilter, chainDocker, openRule, match+"-o "+bridge+" -j ACCEPT")
	return w.out, w.err
}

// renderAllow is a link between containers that are kept apart, for what br_netfilter
// shows of it; the bridge's table has it for frames.
func renderAllow(r desired.Allow) ([]entry, error) {
	from, to := r.From.Unmap(), r.To.Unmap()
	switch {
	case r.Protocol.Number() == 0 || r.First == 0 || r.Last < r.First:
		return nil, model.Errorf(model.Invalid, "link: %s ports %d to %d", r.Protocol, r.First, r.Last)
	case !from.IsValid() || from.BitLen() != to.BitLen() || from.IsUnspecified() || to.IsUnspecified():
		return nil, model.Errorf(model.Invalid, "link: from %v to %v", r.From, r.To)
	}
	if err := interfaceName(r.Bridge); err != nil {
		return nil, err
	}
	w := writer{families: []int{familyOf(to)}}
	w.add(tableFilter, chainDocker, openRule, fmt.Sprintf("-i %[1]s -o %[1]s -s %s %s-j ACCEPT", r.Bridge, from, at(r.Protocol, to, r.First, r.Last)))
	return w.out, w.err
}

// renderHome has answers come back through this host that would take a shorter way: those
// to a container that uses a host port of its own network, where br_netfilter shows its
// frames, which have no interface that they came in by.
func renderHome(r desired.PortSecurity) ([]entry, error) {
	if err := interfaceName(r.Bridge); err != nil {
		return nil, err
	}
	var out []entry
	for _, a := range r.Addrs {
		if a = a.Unmap(); !a.IsValid() || a.Is6() && a.IsLinkLocalUnicast() {
			continue
		}
		w := writer{families: []int{familyOf(a)}}
		w.add(tableNAT, chainHairpin, 0, "-s "+a.WithZone("").String()+" -o "+r.Bridge+" -j MASQUERADE")
		if w.err != nil {
			return nil, w.err
		}
		out = append(out, w.out...)
	}
	return out, nil
}

// at matches ports of an address, or of every address.
func at(p model.Protocol, addr netip.Addr, first, last uint16) string {
	to := ""
	if !addr.IsUnspecified() {
		to = "-d " + addr.String() + " "
	}
	return fmt.Sprintf("%s-p %s -m %s --dport %s ", to, p, p, ports(first, last))
}

func ports(first, last uint16) string {
	s := strconv.Itoa(int(first))
	if last != first {
		s += ":" + strconv.Itoa(int(last))
	}
	return s
}

func familyOf(a netip.Addr) int {
	if a.Unmap().Is4() {
		return four
	}
	return six
}

// interfaceName refuses names that iptables would take for something else: for several
// interfaces (those that end in "+"), for options, or for more than a word.
func interfaceName(s string) error {
	const longest = 15 // IFNAMSIZ without the zero at the end
	switch {
	case s == "" || len(s) > longest:
		return model.Errorf(model.Invalid, "interface name %q: must have 1 to %d bytes", s, longest)
	case strings.HasSuffix(s, "+") || strings.HasPrefix(s, "-") || strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune("\"'\\!#", c)
	}):
		return model.Errorf(model.Invalid, "interface name %q: iptables would take it for something else", s)
	}
	return nil
}
