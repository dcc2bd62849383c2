package containerrecord

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/network"
)

// portRun is container ports in a row, with what is bound to the first. The host
// ports of the others count up with them.
type portRun struct {
	First    uint16          `json:"First,omitzero"`
	Last     uint16          `json:"Last,omitzero"`
	Protocol string          `json:"Protocol,omitzero"`
	Bindings []storedBinding `json:"Bindings,omitzero"`
	// Bound tells an empty list of bindings from none.
	Bound bool `json:"Bound,omitzero"`
}

// storedBinding is a network.PortBinding as it is stored.
type storedBinding struct {
	HostIP   netip.Addr `json:"HostIp,omitzero"`
	HostPort string     `json:"HostPort,omitzero"`
}

// portMap and portSet are ports one by one, "80/tcp", as versions before 3 stored
// fewer than 16.
type (
	portMap map[string][]storedBinding
	portSet map[string]struct{}
)

// packBindings returns ports in order as ranges; nil of nil.
func packBindings(m network.PortMap) []portRun {
	if m == nil {
		return nil
	}
	all := make([]network.Port, 0, len(m))
	for port := range m {
		all = append(all, port)
	}
	slices.SortFunc(all, func(a, b network.Port) int {
		return cmp.Or(cmp.Compare(a.Proto(), b.Proto()), cmp.Compare(a.Num(), b.Num()))
	})
	out := []portRun{}
	for _, port := range all {
		one := portRun{port.Num(), port.Num(), string(port.Proto()), each(m[port], toBinding), m[port] != nil}
		if n := len(out) - 1; n >= 0 && out[n].continues(one) {
			out[n].Last = port.Num()
			continue
		}
		out = append(out, one)
	}
	return out
}

// packSet is packBindings where nothing is bound.
func packSet(set network.PortSet) []portRun {
	if set == nil {
		return nil
	}
	bare := make(network.PortMap, len(set))
	for port := range set {
		bare[port] = nil
	}
	return packBindings(bare)
}

// readBindings returns the ports of ranges or, if there are none, of a map.
// Errors: ranges that overlap or are out of order, and what is no port.
func readBindings(runs []portRun, single portMap) (network.PortMap, error) {
	if runs == nil {
		return single.docker()
	}
	out := network.PortMap{}
	for i, run := range runs {
		if run.First > run.Last || i > 0 && !runs[i-1].before(run) {
			return nil, fmt.Errorf("ports %d-%d/%s are out of order", run.First, run.Last, run.Protocol)
		}
		for n := int(run.First); n <= int(run.Last); n++ {
			// Without a protocol it is the port that is none, and has no number.
			port, _ := network.PortFrom(uint16(n), network.IPProtocol(run.Protocol))
			out[port] = each(run.at(uint16(n)), storedBinding.docker)
		}
	}
	return out, nil
}

// readSet is readBindings where nothing is bound.
func readSet(runs []portRun, single portSet) (network.PortSet, error) {
	var bare portMap
	if single != nil {
		bare = portMap{}
	}
	for port := range single {
		bare[port] = nil
	}
	m, err := readBindings(runs, bare)
	if m == nil {
		return nil, err
	}
	out := make(network.PortSet, len(m))
	for port := range m {
		out[port] = struct{}{}
	}
	return out, nil
}

// docker returns the ports as the API has them; nil of nil.
func (m portMap) docker() (network.PortMap, error) {
	if m == nil {
		return nil, nil
	}
	out := make(network.PortMap, len(m))
	for text, bindings := range m {
		var port network.Port
		if err := port.UnmarshalText([]byte(text)); err != nil {
			return nil, err
		}
		out[port] = each(bindings, storedBinding.docker)
	}
	return out, nil
}

// continues tells whether the port after a run's last has what the run says.
func (r portRun) continues(next portRun) bool {
	return r.Protocol == next.Protocol && int(r.Last)+1 == int(next.First) && r.Bound == next.Bound &&
		slices.Equal(r.at(next.First), next.Bindings)
}

// before tells whether all ports of a run come before those of next, in the order
// of protocols and numbers.
func (r portRun) before(next portRun) bool {
	return cmp.Or(cmp.Compare(r.Protocol, next.Protocol), cmp.Compare(r.Last, next.First)) < 0
}

// at returns what is bound to one port of a run.
func (r portRun) at(port uint16) []storedBinding {
	if !r.Bound {
		return nil
	}
	out := make([]storedBinding, len(r.Bindings))
	for i, b := range r.Bindings {
		// Only what is written as a number is written goes on as one: "8080", neither
		// "08080" nor "8000-8010".
		if n, err := strconv.Atoi(b.HostPort); err == nil && n > 0 && strconv.Itoa(n) == b.HostPort {
			b.HostPort = strconv.Itoa(n + int(port-r.First))
		}
		out[i] = b
	}
	return out
}

func toBinding(b network.PortBinding) storedBinding { return storedBinding{b.HostIP, b.HostPort} }

func (b storedBinding) docker() network.PortBinding {
	return network.PortBinding{HostIP: b.HostIP, HostPort: b.HostPort}
}
