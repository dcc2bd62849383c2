package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// queriesTime bounds the question to the keeper.
const queriesTime = 2 * time.Second

// queries collects the keeper's counts of DNS queries when they are asked for.
type queries struct {
	daemon *daemon
	total  *prometheus.Desc
}

func newQueries(d *daemon) queries {
	return queries{d, prometheus.NewDesc("linkspan_dns_queries_total",
		"DNS queries of containers, by the first of their networks and by what became of them.", []string{"network", "outcome"}, nil)}
}

// Describe implements prometheus.Collector.
func (q queries) Describe(to chan<- *prometheus.Desc) { to <- q.total }

// Collect implements prometheus.Collector. A keeper that does not answer shows as
// counts that are missing.
func (q queries) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), queriesTime)
	defer cancel()
	counts, err := q.daemon.keeper.Queries(ctx)
	if err != nil {
		q.daemon.log.Debug("no counts of queries", "op", "metrics.queries", "err", err)
		return
	}
	snapshot := q.daemon.engine.Snapshot()
	for id, outcomes := range counts.Networks {
		network, ok := snapshot.Network(id)
		if !ok {
			continue // it is being removed
		}
		for outcome, n := range outcomes {
			to <- prometheus.MustNewConstMetric(q.total, prometheus.CounterValue, float64(n), network.Name, outcome)
		}
	}
}
