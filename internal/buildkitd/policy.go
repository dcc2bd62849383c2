package buildkitd

import (
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/disk"
)

const (
	gigabyte = 1_000_000_000
	// reservedUnknown is what the cache may keep on a disk of which nothing is known, in bytes.
	reservedUnknown = 2 * gigabyte
	// reproducible is what may be kept of what is easily had again, in bytes, for
	// reproducibleTime after it was used last.
	reproducible     = 512_000_000
	reproducibleTime = 48 * time.Hour
	unusedTime       = 60 * 24 * time.Hour
)

// cachePolicy says what of the cache goes by itself, as Docker's builder has it: a tenth of
// the disk stays, no more than four fifths are used, and a fifth is left free.
func cachePolicy(root string) []client.PruneInfo {
	limit := client.PruneInfo{ReservedSpace: reservedUnknown}
	if d, err := disk.GetDiskStat(root); err == nil {
		limit = client.PruneInfo{ReservedSpace: share(d.Total, 10), MaxUsedSpace: share(d.Total, 80), MinFreeSpace: share(d.Total, 20)}
	}
	unused, all := limit, limit
	unused.KeepDuration, all.All = unusedTime, true
	return []client.PruneInfo{
		{Filter: []string{"type==source.local", "type==exec.cachemount", "type==source.git.checkout"}, KeepDuration: reproducibleTime, MaxUsedSpace: max(reproducible, limit.ReservedSpace*14/100)},
		unused, limit, all,
	}
}

// share is a part of a disk, in per cent, rounded up to whole gigabytes.
func share(total, percent int64) int64 { return (total*percent/100/(1<<30) + 1) * gigabyte }
