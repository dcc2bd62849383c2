package private

import (
	"context"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/model"
)

// maxPortSeries bounds the series of one container. A range is one; what goes
// beyond is added up in a series whose ports are called "others".
const maxPortSeries = 64

// TrafficMetrics returns the collector of traffic. It reads the counters when it
// is asked and keeps nothing; what cannot be read is logged and left out, so that
// all other metrics are still to be had.
func TrafficMetrics(r *inspect.Reader, log *slog.Logger) prometheus.Collector {
	port := []string{"container", "proto", "address", "ports"}
	network := []string{"network", "direction"}
	desc := func(name, help string, labels []string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &trafficMetrics{
		reader: r, log: log,
		connections:    desc("linkspan_port_connections_total", "Connections to a published port, or range of ports, since it was published.", port),
		portBytes:      desc("linkspan_port_bytes_total", "Bytes of those connections, both ways, IP headers included.", port),
		networkBytes:   desc("linkspan_network_bytes_total", "Bytes that crossed the border of a bridge network: in is to its containers.", network),
		networkPackets: desc("linkspan_network_packets_total", "Packets that crossed the border of a bridge network.", network),
		drops: desc("linkspan_port_drops_total", "Frames from a container that port security dropped, since its start: they were in another's name.",
			[]string{"container", "network", "kind"}),
	}
}

type trafficMetrics struct {
	reader                       *inspect.Reader
	log                          *slog.Logger
	connections, portBytes       *prometheus.Desc
	networkBytes, networkPackets *prometheus.Desc
	drops                        *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (m *trafficMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.connections, m.portBytes, m.networkBytes, m.networkPackets, m.drops} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *trafficMetrics) Collect(out chan<- prometheus.Metric) {
	t, err := m.reader.Traffic(context.Background())
	if err != nil {
		m.log.Warn("traffic was not read", "op", "metrics", "err", err)
		return
	}
	for labels, c := range portSeries(t.Ports) {
		send(out, m.connections, c.Connections, labels[:])
		send(out, m.portBytes, c.Bytes, labels[:])
	}
	drops := map[[3]string]uint64{} // names may be those of several
	for _, d := range t.Drops {
		drops[[3]string{d.Sandbox.Name, d.Network.Name, string(d.Kind)}] += d.Packets
	}
	for labels, frames := range drops {
		send(out, m.drops, frames, labels[:])
	}
	sum := map[string]facts.BridgeTraffic{} // of networks with one name
	for _, n := range t.Networks {
		b := sum[n.Name]
		b.InBytes, b.InPackets = b.InBytes+n.InBytes, b.InPackets+n.InPackets
		b.OutBytes, b.OutPackets = b.OutBytes+n.OutBytes, b.OutPackets+n.OutPackets
		sum[n.Name] = b
	}
	for name, b := range sum {
		send(out, m.networkBytes, b.InBytes, []string{name, "in"})
		send(out, m.networkBytes, b.OutBytes, []string{name, "out"})
		send(out, m.networkPackets, b.InPackets, []string{name, "in"})
		send(out, m.networkPackets, b.OutPackets, []string{name, "out"})
	}
}

// send passes one value on. Labels that are not UTF-8 would spoil all metrics.
func send(out chan<- prometheus.Metric, d *prometheus.Desc, value uint64, labels []string) {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "?")
	}
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

// seriesLabels are container, protocol, address and ports.
type seriesLabels [4]string

// portSeries adds up what was counted, by labels.
func portSeries(all []inspect.Port) map[seriesLabels]facts.PortTraffic {
	series := map[seriesLabels]facts.PortTraffic{}
	seen := map[model.SandboxID]int{}
	for _, p := range all {
		if p.Counts == nil {
			continue
		}
		labels := seriesLabels{p.Sandbox.Name, string(p.Binding.Protocol), p.Binding.Host.String(), portsText(p.Binding)}
		if seen[p.Sandbox.ID]++; seen[p.Sandbox.ID] > maxPortSeries {
			labels = seriesLabels{p.Sandbox.Name, string(p.Binding.Protocol), "", "others"}
		}
		sum := series[labels]
		sum.Connections += p.Counts.Connections
		sum.Bytes += p.Counts.Bytes
		series[labels] = sum
	}
	return series
}
