package private

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/model"
)

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

// TrafficAnswer is the answer to GET /linkspan/v1/traffic.
type TrafficAnswer struct {
	Ports    []PortAnswer
	Networks []NetworkAnswer
	Drops    []TrafficDrops `json:",omitempty"`
}

// TrafficDrops is what port security has dropped of one kind from one container.
type TrafficDrops struct {
	Container, ContainerID, Network string
	Kind                            facts.DropKind
	Frames, Bytes                   uint64
}

// PortAnswer is one published stretch of ports. Connections, Packets and Bytes
// are null where they are not counted.
type PortAnswer struct {
	Container, ContainerID string
	Protocol               model.Protocol
	Address, HostPorts     string
	ContainerPorts         string
	Since                  *time.Time `json:",omitempty"`
	Connections            *uint64
	Packets, Bytes         *uint64
}

// NetworkAnswer is what went over one network.
type NetworkAnswer struct {
	Network, Bridge      string
	InBytes, InPackets   uint64 // to the containers
	OutBytes, OutPackets uint64 // from the containers
}

// traffic answers with all counters, exactly.
func (d *server) traffic(w http.ResponseWriter, r *http.Request) {
	t, err := d.reader.Traffic(r.Context())
	if err != nil {
		http.Error(w, err.Error(), httpkit.StatusOf(err))
		return
	}
	answer := TrafficAnswer{Ports: portAnswers(t.Ports, d.reader.Starts(r.Context())), Networks: []NetworkAnswer{}}
	for _, n := range t.Networks {
		answer.Networks = append(answer.Networks, NetworkAnswer{n.Name, n.Bridge, n.InBytes, n.InPackets, n.OutBytes, n.OutPackets})
	}
	answer.Drops = dropAnswers(t.Drops)
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	d.write(w, r, "application/json", out.Bytes())
}

// portAnswers is published ports with what was counted.
func portAnswers(all []inspect.Port, since func(model.ContainerID) time.Time) []PortAnswer {
	out := []PortAnswer{}
	for _, p := range all {
		one := PortAnswer{
			Container: p.Sandbox.Name, ContainerID: string(p.Sandbox.Container), Protocol: p.Binding.Protocol,
			Address: p.Binding.Host.String(), HostPorts: portsText(p.Binding), ContainerPorts: p.Binding.Container.String(),
		}
		if at := since(p.Sandbox.Container); !at.IsZero() {
			one.Since = &at
		}
		if c := p.Counts; c != nil {
			one.Connections, one.Packets, one.Bytes = &c.Connections, &c.Packets, &c.Bytes
		}
		out = append(out, one)
	}
	return out
}

// dropAnswers is what port security has dropped.
func dropAnswers(all []inspect.Drop) []TrafficDrops {
	out := []TrafficDrops{}
	for _, x := range all {
		out = append(out, TrafficDrops{x.Sandbox.Name, string(x.Sandbox.Container), x.Network.Name, x.Kind, x.Packets, x.Bytes})
	}
	return out
}
