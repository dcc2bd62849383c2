package privateapi

import (
	"context"
	"net/http"
	"time"
)

// DumpVersion is the form of Dump. It grows when a field changes its meaning; a new field or
// file does not count.
const DumpVersion = 1

// Dump is everything that the daemon knows, as text, without what may be secret: GET
// /linkspan/v1/dump.
type Dump struct {
	Version int
	At      time.Time
	Daemon  Daemon
	Files   []DumpFile
}

// DumpFile is one text of a dump. Name is relative, with "/" between folders.
type DumpFile struct{ Name, Text string }

// Dump returns everything that the daemon knows.
func (c Client) Dump(ctx context.Context) (out Dump, err error) {
	err = c.ask(ctx, http.MethodGet, "/linkspan/v1/dump", nil, &out)
	return out, err
}
