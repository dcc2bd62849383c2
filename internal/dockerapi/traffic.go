package dockerapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// reading is how long a look at the counters may take.
const reading = 10 * time.Second

// TrafficReader reads the counters of published ports and networks. It is asked
// only when somebody wants to know.
type TrafficReader interface {
	Traffic(ctx context.Context) (facts.Traffic, error)
}

// published is a stretch of host ports that leads to a running container.
type published struct {
	sandbox model.Sandbox
	binding model.PortBinding
	counts  *facts.PortTraffic // nil where the kernel does not see it: routed ports, a forwarder's
}

// portKey is by what a binding and its counters are known.
type portKey struct {
	protocol model.Protocol
	host     netip.Addr
	first    uint16
}

// publishedPorts returns what is published, ordered by host port, with what was
// counted there.
func publishedPorts(s *state.Snapshot, t facts.Traffic) []published {
	counts := make(map[portKey]*facts.PortTraffic, len(t.Ports))
	for i, p := range t.Ports {
		counts[portKey{p.Protocol, p.Host, p.First}] = &t.Ports[i]
	}
	var all []published
	for sb := range s.Sandboxes() {
		for _, b := range sb.Ports {
			if sb.Up {
				all = append(all, published{sb, b, counts[portKey{b.Protocol, b.Host, b.HostFirst}]})
			}
		}
	}
	slices.SortFunc(all, func(a, b published) int {
		return cmp.Or(cmp.Compare(a.binding.HostFirst, b.binding.HostFirst), cmp.Compare(a.binding.Protocol, b.binding.Protocol),
			a.binding.Host.Compare(b.binding.Host), cmp.Compare(a.sandbox.Name, b.sandbox.Name))
	})
	return all
}

// networkTraffic is what crossed the border of one network.
type networkTraffic struct {
	name string
	facts.BridgeTraffic
}

// trafficOfNetworks returns the networks that have counters, by name.
func trafficOfNetworks(s *state.Snapshot, drivers driver.Set, t facts.Traffic) []networkTraffic {
	bridges := make(map[string]facts.BridgeTraffic, len(t.Bridges))
	for _, b := range t.Bridges {
		bridges[b.Bridge] = b
	}
	var all []networkTraffic
	for n := range s.Networks() {
		device, _ := drivers.Device(n)
		if b, ok := bridges[device]; ok {
			all = append(all, networkTraffic{n.Name, b})
		}
	}
	slices.SortFunc(all, func(a, b networkTraffic) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.Bridge, b.Bridge))
	})
	return all
}

// portsText prints "8080" or "8000-8010"; nothing for a port that is routed.
func portsText(b model.PortBinding) string {
	if b.HostFirst == 0 {
		return ""
	}
	text := strconv.Itoa(int(b.HostFirst))
	if b.Container.Len() > 1 {
		text += "-" + strconv.Itoa(int(b.HostPorts().Last))
	}
	return text
}

// trafficAnswer is the answer to GET /linkspan/v1/traffic.
type trafficAnswer struct {
	Ports    []portAnswer
	Networks []networkAnswer
	Drops    []trafficDrops `json:",omitempty"`
}

// trafficDrops is what port security has dropped of one kind from one container.
type trafficDrops struct {
	Container, ContainerID, Network string
	Kind                            facts.DropKind
	Frames, Bytes                   uint64
}

// portAnswer is one published stretch of ports. Connections, Packets and Bytes
// are null where they are not counted.
type portAnswer struct {
	Container, ContainerID string
	Protocol               model.Protocol
	Address, HostPorts     string
	ContainerPorts         string
	Since                  *time.Time `json:",omitempty"`
	Connections            *uint64
	Packets, Bytes         *uint64
}

type networkAnswer struct {
	Network, Bridge      string
	InBytes, InPackets   uint64 // to the containers
	OutBytes, OutPackets uint64 // from the containers
}

// traffic answers with all counters, exactly.
func (d *debugServer) traffic(w http.ResponseWriter, r *http.Request) {
	t, err := d.counters(r.Context())
	if err != nil {
		http.Error(w, err.Error(), httpkit.StatusOf(err))
		return
	}
	s, since := d.Engine.Snapshot(), d.starts(r.Context())
	answer := trafficAnswer{Ports: []portAnswer{}, Networks: []networkAnswer{}}
	for _, p := range publishedPorts(s, t) {
		one := portAnswer{
			Container: p.sandbox.Name, ContainerID: string(p.sandbox.Container), Protocol: p.binding.Protocol,
			Address: p.binding.Host.String(), HostPorts: portsText(p.binding), ContainerPorts: p.binding.Container.String(),
		}
		if at := since(p.sandbox.Container); !at.IsZero() {
			one.Since = &at
		}
		if c := p.counts; c != nil {
			one.Connections, one.Packets, one.Bytes = &c.Connections, &c.Packets, &c.Bytes
		}
		answer.Ports = append(answer.Ports, one)
	}
	for _, n := range trafficOfNetworks(s, d.Drivers, t) {
		answer.Networks = append(answer.Networks, networkAnswer{n.name, n.Bridge, n.InBytes, n.InPackets, n.OutBytes, n.OutPackets})
	}
	for _, x := range droppedOf(s, d.Drivers, t.Drops) {
		answer.Drops = append(answer.Drops, trafficDrops{x.Sandbox.Name, string(x.Sandbox.Container), x.Network.Name, x.Kind, x.Packets, x.Bytes})
	}
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	d.write(w, r, "application/json", out.Bytes())
}

// counters reads what there is to read.
func (d *debugServer) counters(ctx context.Context) (facts.Traffic, error) {
	if d.Traffic == nil {
		return facts.Traffic{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, reading)
	defer cancel()
	return d.Traffic.Traffic(ctx)
}

// starts returns what tells since when a container runs, asking once for each.
// The time is zero if that is not known.
func (d *debugServer) starts(ctx context.Context) func(model.ContainerID) time.Time {
	known := map[model.ContainerID]time.Time{}
	return func(id model.ContainerID) time.Time {
		at, ok := known[id]
		if !ok && d.Containers != nil {
			if c, err := d.Containers.Inspect(ctx, string(id)); err == nil && c.State != nil {
				at, _ = time.Parse(time.RFC3339Nano, c.State.StartedAt) // zero if there is none
			}
			known[id] = at
		}
		return at
	}
}
