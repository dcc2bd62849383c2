package containerview

import (
	"cmp"
	"iter"
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/model"
)

// openPorts returns the ports of a container that are open now, and whether it
// has ports at all: only networks that publish know of them, also of those merely
// exposed.
func (v View) openPorts(r containerrecord.Record) ([]model.PortBinding, bool) {
	sb, ok := v.State.Sandbox(r.Sandbox)
	if !ok || !sb.Up || sb.Mode != model.SandboxOwn {
		return nil, false
	}
	publishing := slices.ContainsFunc(gateway.Members(v.State, v.Facts, sb.ID), func(one gateway.Member) bool {
		_, ok := v.Drivers.Publisher(one.Network)
		return ok
	})
	return sb.Ports, publishing
}

// portMap returns a container's ports as inspect has them: those that are open,
// the ones that ports of the host lead to first, and without a value those that are
// merely exposed. Ranges end here, because the API knows none.
func portMap(exposed network.PortSet, open []model.PortBinding) network.PortMap {
	out := network.PortMap{}
	for port := range exposed {
		out[port] = nil
	}
	for p := range each(open) {
		binding := network.PortBinding{HostIP: p.binding.Host}
		if p.host != 0 {
			binding.HostPort = decimal(p.host)
		}
		out[p.container] = append(out[p.container], binding)
	}
	for _, bindings := range out {
		slices.SortStableFunc(bindings, func(a, b network.PortBinding) int {
			return model.CompareBool(a.HostPort == "", b.HostPort == "")
		})
	}
	return out
}

// portSummaries returns a container's ports as the list has them.
func portSummaries(exposed network.PortSet, open []model.PortBinding) []container.PortSummary {
	out := []container.PortSummary{}
	seen := network.PortSet{}
	for p := range each(open) {
		seen[p.container] = struct{}{}
		one := container.PortSummary{PrivatePort: p.container.Num(), Type: string(p.container.Proto())}
		if p.host != 0 {
			one.IP, one.PublicPort = p.binding.Host, p.host
		}
		out = append(out, one)
	}
	for port := range exposed {
		if _, published := seen[port]; !published {
			out = append(out, container.PortSummary{PrivatePort: port.Num(), Type: string(port.Proto())})
		}
	}
	slices.SortStableFunc(out, func(a, b container.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), cmp.Compare(a.Type, b.Type),
			model.CompareBool(a.PublicPort == 0, b.PublicPort == 0), cmp.Compare(a.PublicPort, b.PublicPort), a.IP.Compare(b.IP))
	})
	return slices.Compact(out)
}

// openPort is one port of a binding; host is 0 where no port of the host leads
// there.
type openPort struct {
	binding   model.PortBinding
	container network.Port
	host      uint16
}

// each yields the single ports of bindings.
func each(open []model.PortBinding) iter.Seq[openPort] {
	return func(yield func(openPort) bool) {
		for _, b := range open {
			for i := range b.Container.Len() {
				one := openPort{binding: b}
				one.container, _ = network.PortFrom(b.Container.First+uint16(i), network.IPProtocol(b.Protocol))
				if b.HostFirst != 0 {
					one.host = b.HostFirst + uint16(i)
				}
				if !yield(one) {
					return
				}
			}
		}
	}
}

func decimal(port uint16) string { return strconv.Itoa(int(port)) }
