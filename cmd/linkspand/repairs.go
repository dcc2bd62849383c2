package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkspan/linkspan/internal/engine"
	"github.com/linkspan/linkspan/internal/events"
)

// repairs are the metrics about what others changed.
type repairs struct {
	total   *prometheus.CounterVec
	seconds prometheus.Histogram
}

func newRepairs() repairs {
	return repairs{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "linkspan_repairs_total", Help: "Things that others on the host changed, and that were put right, by kind (policy is the firewall).",
		}, []string{"kind"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "linkspan_repair_seconds", Help: "Time that it took to put them right, once they were noticed.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
	}
}

// repaired tells of a repair: by an event, and by the metrics. The engine has logged it.
func (d *daemon) repaired(r engine.Repair) {
	for kind, n := range r.Kinds() {
		d.repairs.total.WithLabelValues(string(kind)).Add(float64(n))
	}
	d.repairs.seconds.Observe(r.Took.Seconds())
	pairs := []string{"what", r.String(), "took", r.Took.String()}
	if r.Who != "" {
		pairs = append(pairs, "who", r.Who)
	}
	d.events.Publish(events.Repaired(d.store.Instance(), pairs...))
}
