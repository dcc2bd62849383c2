package hostports

import "time"

// Bounds of the search for who holds a port.
const (
	ownerTime   = 2 * time.Second // to find out
	maxOwnerFDs = 200_000         // descriptors looked at for that
)
