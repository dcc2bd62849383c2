package dockerapi

import (
	"github.com/linkspan/linkspan/internal/query"
)

// filters reads the query's filters.
func (r *request) filters() (query.Filters, error) { return query.ParseFilters(r.query.Get("filters")) }
