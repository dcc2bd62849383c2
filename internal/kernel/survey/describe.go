package survey

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
	"github.com/linkspan/linkspan/internal/model"
)

// maxObjects bounds how many objects of a kind are described.
const maxObjects = 20000

// Describe writes down what a namespace has: links, addresses, routing rules, routes,
// neighbours and the rules of nf_tables, an object a line. The empty path is the surveyor's
// own namespace. What cannot be read is named in the text; the error is for a namespace that
// cannot be entered.
func (s *Surveyor) Describe(ctx context.Context, path string) (string, error) {
	var out bytes.Buffer
	err := s.enter(ctx, path, func(fd int) error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		names := map[int]string{}
		for _, part := range []struct {
			title string
			look  func() ([]string, error)
		}{
			{"links", func() ([]string, error) { return linkLines(h, names) }},
			{"addresses", func() ([]string, error) { return addrLines(h, names) }},
			{"rules of routing", func() ([]string, error) { return ruleLines(h) }},
			{"routes", func() ([]string, error) { return routeLines(h, names) }},
			{"neighbours", func() ([]string, error) { return neighbourLines(h, names) }},
			{"nf_tables", func() ([]string, error) { return tableLines(ctx, fd) }},
		} {
			lines, err := part.look()
			fmt.Fprintf(&out, "# %s\n", part.title)
			for i, l := range lines {
				if i == maxObjects {
					fmt.Fprintf(&out, "... and %d more\n", len(lines)-i)
					break
				}
				out.WriteString(model.Printable(l) + "\n")
			}
			if err != nil {
				fmt.Fprintf(&out, "not read: %s\n", model.Printable(err.Error()))
			}
			out.WriteByte('\n')
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("look into network namespace %s: %w", path, err)
	}
	return out.String(), nil
}

// whole is the error of a dump that is of use though the tables changed meanwhile.
func whole(err error) error {
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil
	}
	return err
}

func linkLines(h *netlink.Handle, names map[int]string) (out []string, err error) {
	all, err := h.LinkList()
	for _, l := range all {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range all {
		a := l.Attrs()
		line := fmt.Sprintf("%d: %s type %s flags %s state %s mtu %d mac %s", a.Index, a.Name, l.Type(), a.Flags, a.OperState, a.MTU, a.HardwareAddr)
		if a.MasterIndex != 0 {
			line += " master " + names[a.MasterIndex]
		}
		if a.ParentIndex != 0 {
			line += fmt.Sprintf(" parent %d in namespace %d", a.ParentIndex, a.NetNsID)
		}
		if a.Group != 0 {
			line += fmt.Sprintf(" group %#x", a.Group)
		}
		if a.Alias != "" {
			line += " alias " + a.Alias
		}
		if s := a.Statistics; s != nil {
			line += fmt.Sprintf(" received %d packets %d bytes %d dropped %d errors sent %d packets %d bytes %d dropped %d errors",
				s.RxPackets, s.RxBytes, s.RxDropped, s.RxErrors, s.TxPackets, s.TxBytes, s.TxDropped, s.TxErrors)
		}
		out = append(out, line)
	}
	return out, whole(err)
}

func addrLines(h *netlink.Handle, names map[int]string) (out []string, err error) {
	all, err := h.AddrList(nil, netlink.FAMILY_ALL)
	for _, a := range all {
		out = append(out, fmt.Sprintf("%s dev %s scope %d flags %#x", a.IPNet, names[a.LinkIndex], a.Scope, a.Flags))
	}
	return out, whole(err)
}

func ruleLines(h *netlink.Handle) (out []string, err error) {
	all, err := h.RuleList(netlink.FAMILY_ALL)
	for _, r := range all {
		out = append(out, fmt.Sprintf("%s protocol %d", r, r.Protocol))
	}
	return out, whole(err)
}

func routeLines(h *netlink.Handle, names map[int]string) (out []string, err error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all, familyErr := h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		for _, r := range all {
			to := "default"
			if r.Dst != nil {
				to = r.Dst.String()
			}
			out = append(out, fmt.Sprintf("%s via %s dev %s src %s table %d protocol %d metric %d type %d", to, r.Gw, names[r.LinkIndex], r.Src, r.Table, r.Protocol, r.Priority, r.Type))
		}
		err = errors.Join(err, whole(familyErr))
	}
	return out, err
}

func neighbourLines(h *netlink.Handle, names map[int]string) (out []string, err error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6, unix.AF_BRIDGE} {
		all, familyErr := h.NeighList(0, family)
		for _, n := range all {
			out = append(out, fmt.Sprintf("%s dev %s mac %s state %s flags %#x", n.IP, names[n.LinkIndex], n.HardwareAddr, stateText(n.State), n.Flags))
		}
		err = errors.Join(err, whole(familyErr))
	}
	return out, err
}

// tableLines are the rules of all tables, ours and others', as the packet tracer reads them.
func tableLines(ctx context.Context, fd int) (out []string, err error) {
	rules, err := trace.Read(ctx, fd)
	if err != nil {
		return nil, err
	}
	for _, t := range rules.Tables {
		out = append(out, "table "+t.String())
		for _, c := range t.Chains {
			line := "  chain " + c.Name
			if b := c.Base; b != nil {
				line += fmt.Sprintf(" type %s hook %d priority %d drop %t", b.Type, b.Hook, b.Priority, b.Drop)
			}
			out = append(out, line)
			for i := range c.Rules {
				out = append(out, "    "+t.Text(&c.Rules[i]))
			}
		}
	}
	return out, nil
}
