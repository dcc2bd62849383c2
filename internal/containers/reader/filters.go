package reader

import "github.com/linkspan/linkspan/internal/query"

// Filters are the `--filter` conditions of a request.
type Filters = query.Filters
