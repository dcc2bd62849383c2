package containerspec

import (
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// minMemory is the least memory in bytes that a container may be limited to: runc
// itself needs some while it starts one.
const minMemory = 6 << 20

// CheckLimits refuses limits that cannot be meant, in Docker's words; at create
// as at update.
func CheckLimits(r container.Resources, on Machine) error {
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
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(on.CPUs)*1e9:
		return model.Errorf(model.Invalid, "range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available",
			on.CPUs, on.CPUs)
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
	case r.BlkioWeight > 0 && on.BlockWeights && (r.BlkioWeight < 10 || r.BlkioWeight > 1000):
		return refuse("Range of blkio weight is from 10 to 1000")
	case r.IOMaximumBandwidth != 0 || r.IOMaximumIOps != 0:
		return refuse("Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps")
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < -1 || *r.MemorySwappiness > 100):
		return model.Errorf(model.Invalid, "Invalid value: %d, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	}
	return checkAvailable(r, on.OnlineCPUs, on.OnlineNodes)
}

// checkSwap refuses, at create, a limit for memory and swap together without one for memory.
func checkSwap(r Request) error {
	if m := r.Host.Resources; m.Memory == 0 && m.MemorySwap > 0 {
		return refuse("You should always set the Memory limit when using Memoryswap limit, see usage")
	}
	return nil
}

// Possible takes out of limits those that the machine cannot set, and returns what Docker
// remarks on that.
func Possible(r *container.Resources, on Machine) []string {
	var out []string
	discard := func(given, can bool, remark string, clear func()) {
		if given && !can {
			out = append(out, remark)
			clear()
		}
	}
	const missing = " or the cgroup is not mounted. "
	discard(r.BlkioWeight > 0, on.BlockWeights, "Your kernel does not support Block I/O weight"+missing+"Weight discarded.", func() { r.BlkioWeight = 0 })
	discard(len(r.BlkioWeightDevice) > 0, on.BlockDeviceWeights, "Your kernel does not support Block I/O weight_device"+missing+"Weight-device discarded.",
		func() { r.BlkioWeightDevice = []*blkiodev.WeightDevice{} })
	for _, kind := range []struct {
		devices *[]*blkiodev.ThrottleDevice
		remark  string
	}{
		{&r.BlkioDeviceReadBps, "BPS Block I/O read limit" + missing + "Block I/O BPS read limit discarded."},
		{&r.BlkioDeviceWriteBps, "BPS Block I/O write limit" + missing + "Block I/O BPS write limit discarded."},
		{&r.BlkioDeviceReadIOps, "IOPS Block read limit" + missing + "Block I/O IOPS read limit discarded."},
		{&r.BlkioDeviceWriteIOps, "IOPS Block write limit" + missing + "Block I/O IOPS write limit discarded."},
	} {
		discard(len(*kind.devices) > 0, on.BlockLimits, "Your kernel does not support "+kind.remark, func() { *kind.devices = []*blkiodev.ThrottleDevice{} })
	}
	return out
}

// checkAvailable refuses CPUs and memory nodes that the machine does not have.
func checkAvailable(r container.Resources, cpus, nodes string) error {
	switch {
	case cpus != "" && !within(r.CpusetCpus, cpus):
		return model.Errorf(model.Invalid, "Requested CPUs are not available - requested %s, available: %s", r.CpusetCpus, cpus)
	case nodes != "" && !within(r.CpusetMems, nodes):
		return model.Errorf(model.Invalid, "Requested memory nodes are not available - requested %s, available: %s", r.CpusetMems, nodes)
	}
	return nil
}

// within tells whether all of one list as in cpuset(7) is in another. Both are lists.
func within(list, available string) bool {
	have := map[uint64]bool{}
	eachNumber(available, func(n uint64) bool { have[n] = true; return true })
	return eachNumber(list, func(n uint64) bool { return have[n] })
}

// eachNumber calls f for the numbers of a list as in cpuset(7) until it returns false, which
// is returned then.
func eachNumber(list string, f func(uint64) bool) bool {
	if list == "" {
		return true
	}
	for _, part := range strings.Split(list, ",") {
		from, to, ranged := strings.Cut(part, "-")
		first, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return false
		}
		last := first
		if ranged {
			if last, err = strconv.ParseUint(to, 10, 16); err != nil {
				return false
			}
		}
		for n := first; n <= last; n++ {
			if !f(n) {
				return false
			}
		}
	}
	return true
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
