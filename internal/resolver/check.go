package resolver

import (
	"context"
	"reflect"

	"github.com/linkspan/linkspan/internal/desired"
)

// Check says what Resync would change, and changes nothing.
func (s *Server) Check(ctx context.Context, want desired.State) (desired.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := map[desired.Key]desired.Row{}
	for row := range s.table.Load().rows() {
		have[row.Key()] = row
	}
	for _, l := range s.listeners {
		row := l.view.Load().row
		have[row.Key()] = row
	}
	var report desired.Report
	for _, kind := range []desired.Kind{desired.KindName, desired.KindResolver} {
		for o := range want.Kind(kind) {
			if row, there := have[o.Row.Key()]; !there || !reflect.DeepEqual(row, o.Row) {
				report.Drift = append(report.Drift, "missing or wrong: "+o.Row.String())
			} else if row, ok := o.Row.(desired.Resolver); ok {
				if drift, cut := s.driftOf(ctx, row); cut {
					report.Drift = append(report.Drift, drift)
				}
			}
			delete(have, o.Row.Key())
		}
	}
	for _, row := range have {
		report.Drift = append(report.Drift, "left over: "+row.String())
	}
	return report, nil
}
