package private

import (
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/model"
)

// TestSeriesAreBounded: a container with ports all over the place has no more
// series than a bound, and nothing it carried is lost.
func TestSeriesAreBounded(t *testing.T) {
	var all []inspect.Port
	for i := range 1000 {
		b := model.PortBinding{Protocol: model.TCP, Container: model.Port(80), Host: netip.IPv4Unspecified(), HostFirst: uint16(1000 + 2*i)}
		all = append(all, inspect.Port{Sandbox: model.Sandbox{ID: "1", Name: "many"}, Binding: b, Counts: &facts.PortTraffic{Connections: 1, Bytes: 10}})
	}
	series := portSeries(all)
	var connections, bytes uint64
	for _, c := range series {
		connections, bytes = connections+c.Connections, bytes+c.Bytes
	}
	if len(series) != maxPortSeries+1 || connections != 1000 || bytes != 10000 {
		t.Errorf("%d series with %d connections and %d bytes", len(series), connections, bytes)
	}
	if rest := series[seriesLabels{"many", "tcp", "", "others"}]; rest.Connections != 1000-maxPortSeries {
		t.Errorf("the rest: %+v", rest)
	}
}
