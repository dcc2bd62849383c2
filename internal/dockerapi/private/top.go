package private

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"time"

	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// top answers with the traffic of this host, a sample a line, as long as somebody listens.
func (d *server) top(w http.ResponseWriter, r *http.Request) {
	interval, err := duration(r, "interval", time.Second, privateapi.MinTopInterval, privateapi.MaxTopInterval)
	count := 0
	if err == nil {
		count, err = number(r, "count", math.MaxInt32)
	}
	if err != nil {
		d.refuse(w, r, err)
		return
	}
	d.streams.serve(w, r, func(ctx context.Context, out *stream) error { return d.sample(ctx, out, interval, count) })
}

// sample writes samples until ctx ends; at most count of them, unless that is 0.
func (d *server) sample(ctx context.Context, out *stream, interval time.Duration, count int) error {
	before, err := d.reader.ReadMeter(ctx, time.Now)
	if err != nil {
		return err
	}
	out.Header().Set("Content-Type", "application/x-ndjson")
	encoder, ticker := json.NewEncoder(out), time.NewTicker(interval)
	defer ticker.Stop()
	for sent := 0; count == 0 || sent < count; sent++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		now, err := d.reader.ReadMeter(ctx, time.Now)
		if err != nil {
			if sent > 0 {
				_ = encoder.Encode(struct{ Error string }{err.Error()}) // whoever is gone does not read it
			}
			return err
		}
		if err := encoder.Encode(topAnswer(inspect.RatesOf(before, now))); err != nil {
			return err
		}
		before = now
	}
	return nil
}

// topAnswer translates what happened between two readings.
func topAnswer(r inspect.Rates) privateapi.Top {
	out := privateapi.Top{
		Version: privateapi.TopVersion, At: r.At.UTC(), Seconds: r.Over.Seconds(),
		Containers: []privateapi.TopContainer{}, Networks: []privateapi.TopNetwork{}, Ports: []privateapi.TopPort{},
	}
	for _, m := range r.Members {
		out.Containers = append(out.Containers, privateapi.TopContainer{
			Container: m.Sandbox.Name, ContainerID: string(m.Sandbox.Container), Network: m.Network.Name, Interface: m.Endpoint.Interface,
			In: flowAnswer(m.In), Out: flowAnswer(m.Out),
		})
	}
	for _, n := range r.Networks {
		out.Networks = append(out.Networks, privateapi.TopNetwork{
			Network: n.Network.Name, NetworkID: string(n.Network.ID), Containers: n.Containers, In: flowAnswer(n.In), Out: flowAnswer(n.Out),
		})
	}
	for _, p := range r.Ports {
		out.Ports = append(out.Ports, privateapi.TopPort{
			Container: p.Sandbox.Name, ContainerID: string(p.Sandbox.Container), Protocol: p.Binding.Protocol, Address: p.Binding.Host.String(),
			HostPorts: portsText(p.Binding), ContainerPorts: p.Binding.Container.String(), Counted: p.Counted, Both: flowAnswer(p.Both),
			Connections: p.Connections, ConnectionsPerSecond: p.ConnectionsRate,
		})
	}
	return out
}

func flowAnswer(f inspect.Flow) privateapi.Flow {
	return privateapi.Flow{Bytes: f.Bytes, Packets: f.Packets, BytesPerSecond: f.BytesRate, PacketsPerSecond: f.PacketsRate}
}
