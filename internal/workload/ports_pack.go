package workload

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/network"
)

// packFrom is how many ports of a container are stored as ranges. Fewer are
// stored as the API has them, one by one.
const packFrom = 16

// portRun is container ports in a row, with what is bound to the first. The host
// ports of the others count up with them.
type portRun struct {
	First, Last uint16
	Protocol    network.IPProtocol
	Bindings    []network.PortBinding `json:",omitempty"`
	// Bound tells an empty list of bindings from none.
	Bound bool `json:",omitempty"`
}

// pack returns the record with its many ports as ranges. Config and Host are
// others then, since nobody may change them in place.
func (r record) pack() record {
	if r.Host != nil && len(r.Host.PortBindings) >= packFrom {
		host := *r.Host
		r.Host, r.Bound = &host, packBindings(host.PortBindings)
		host.PortBindings = nil
	}
	if r.Config != nil && len(r.Config.ExposedPorts) >= packFrom {
		config := *r.Config
		bare := network.PortMap{}
		for port := range config.ExposedPorts {
			bare[port] = nil
		}
		r.Config, r.Exposed = &config, packBindings(bare)
		config.ExposedPorts = nil
	}
	return r
}

// unpack is the way back.
func (r record) unpack() record {
	if r.Host != nil && len(r.Bound) > 0 {
		host := *r.Host
		host.PortBindings = unpackBindings(r.Bound)
		r.Host, r.Bound = &host, nil
	}
	if r.Config != nil && len(r.Exposed) > 0 {
		config := *r.Config
		config.ExposedPorts = network.PortSet{}
		for port := range unpackBindings(r.Exposed) {
			config.ExposedPorts[port] = struct{}{}
		}
		r.Config, r.Exposed = &config, nil
	}
	return r
}

func packBindings(m network.PortMap) []portRun {
	all := make([]network.Port, 0, len(m))
	for port := range m {
		all = append(all, port)
	}
	slices.SortFunc(all, func(a, b network.Port) int {
		return cmp.Or(cmp.Compare(a.Proto(), b.Proto()), cmp.Compare(a.Num(), b.Num()))
	})
	var out []portRun
	for _, port := range all {
		one := portRun{port.Num(), port.Num(), port.Proto(), m[port], m[port] != nil}
		if n := len(out) - 1; n >= 0 && out[n].continues(one) {
			out[n].Last = port.Num()
			continue
		}
		out = append(out, one)
	}
	return out
}

// continues tells whether the port after a run's last has what the run says.
func (r portRun) continues(next portRun) bool {
	return r.Protocol == next.Protocol && int(r.Last)+1 == int(next.First) && r.Bound == next.Bound &&
		slices.Equal(r.at(next.First), next.Bindings)
}

// at returns what is bound to one port of a run.
func (r portRun) at(port uint16) []network.PortBinding {
	if !r.Bound {
		return nil
	}
	out := make([]network.PortBinding, len(r.Bindings))
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

func unpackBindings(runs []portRun) network.PortMap {
	out := network.PortMap{}
	for _, run := range runs {
		for n := int(run.First); n <= int(run.Last); n++ {
			if port, ok := network.PortFrom(uint16(n), run.Protocol); ok {
				out[port] = run.at(uint16(n))
			}
		}
	}
	return out
}
