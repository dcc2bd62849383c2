package workload

import (
	"runtime"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// minMemory is the least memory in bytes that a container may be limited to: runc
// itself needs some while it starts one.
const minMemory = 6 << 20

// checkLimits refuses limits that cannot be meant, in Docker's words; at create
// as at update.
func checkLimits(r container.Resources) error {
	switch {
	case r.Memory != 0 && r.Memory < minMemory:
		return refuse("Minimum memory limit allowed is 6MB")
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return refuse("Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.MemoryReservation != 0 && r.MemoryReservation < minMemory:
		return refuse("Minimum memory reservation allowed is 6MB")
	case r.Memory > 0 && r.MemoryReservation > r.Memory:
		return refuse("Minimum memory limit can not be less than memory reservation limit, see usage")
	case r.NanoCPUs > 0 && r.CPUPeriod != 0:
		return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota != 0:
		return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(runtime.NumCPU())*1e9:
		return model.Errorf(model.Invalid, "range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available",
			runtime.NumCPU(), runtime.NumCPU())
	case r.CPUShares < 0:
		return model.Errorf(model.Invalid, "invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1000000):
		return refuse("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case !isCPUList(r.CpusetCpus):
		return model.Errorf(model.Invalid, "Invalid value %s for cpuset cpus", r.CpusetCpus)
	case !isCPUList(r.CpusetMems):
		return model.Errorf(model.Invalid, "Invalid value %s for cpuset mems", r.CpusetMems)
	}
	return nil
}

// isCPUList tells whether text is a list as in cpuset(7), such as "0-3,8".
func isCPUList(text string) bool {
	if text == "" {
		return true
	}
	for _, part := range strings.Split(text, ",") {
		from, to, ranged := strings.Cut(part, "-")
		first, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return false
		}
		if last, err := strconv.ParseUint(to, 10, 16); ranged && (err != nil || last < first) {
			return false
		}
	}
	return true
}
