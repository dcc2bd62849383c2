package dockerapi

import (
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// filters reads the query's filters.
func (r *request) filters() (query.Filters, error) { return query.ParseFilters(r.query.Get("filters")) }

// unused reads the filter "dangling" of networks, for which Docker has words of
// its own; given is false if it is not there.
func unused(f query.Filters) (value, given bool, err error) {
	if len(f["dangling"]) > 1 {
		return false, false, model.Errorf(model.Invalid, `got more than one value for filter key "dangling"`)
	}
	if !f.Has("dangling") {
		return false, false, nil
	}
	if value, given, err = f.Bool("dangling"); err != nil {
		return false, false, model.Errorf(model.Invalid, `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`)
	}
	return value, given, nil
}
