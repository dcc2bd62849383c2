package containerspec

import (
	"testing"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

func TestCheckLimits(t *testing.T) {
	for _, c := range []struct {
		text string // of the refusal; empty: taken
		r    container.Resources
	}{
		{"", container.Resources{}},
		{"", container.Resources{Memory: 6 << 20, MemorySwap: -1, MemoryReservation: 6 << 20, NanoCPUs: 4 * 1e9, CpusetCpus: "0-0,0"}},
		{"", container.Resources{CPUPeriod: 1000, CPUQuota: -1, CpusetMems: "0"}},
		{"Minimum memory limit allowed is 6MB", container.Resources{Memory: -5}},
		{"Minimum memoryswap limit should be larger than memory limit", container.Resources{Memory: 8 << 20, MemorySwap: 7 << 20}},
		{"Minimum memory reservation allowed is 6MB", container.Resources{MemoryReservation: 1}},
		{"less than memory reservation limit", container.Resources{Memory: 8 << 20, MemoryReservation: 9 << 20}},
		{"Nano CPUs and CPU Period cannot both be set", container.Resources{NanoCPUs: 1, CPUPeriod: 1000}},
		{"Nano CPUs and CPU Quota cannot both be set", container.Resources{NanoCPUs: 1, CPUQuota: 1000}},
		{"range of CPUs is from 0.01 to", container.Resources{NanoCPUs: -5}},
		{"range of CPUs is from 0.01 to", container.Resources{NanoCPUs: 5 * 1e9}},
		{"invalid CPU shares (-5)", container.Resources{CPUShares: -5}},
		{"CPU cfs period can not be less than 1ms", container.Resources{CPUPeriod: 999}},
		{"CPU cfs quota can not be less than 1ms", container.Resources{CPUQuota: 999}},
		{"Invalid value a-b for cpuset cpus", container.Resources{CpusetCpus: "a-b"}},
		{"Invalid value 3-1 for cpuset cpus", container.Resources{CpusetCpus: "3-1"}},
		{"Invalid value 0, for cpuset mems", container.Resources{CpusetMems: "0,"}},
		{"Requested CPUs are not available - requested 1-8191, available: ", container.Resources{CpusetCpus: "1-8191"}},
		{"Invalid value: 101, valid memory swappiness range is 0-100", container.Resources{MemorySwappiness: number(101)}},
		{"Invalid value: -2, valid memory swappiness range is 0-100", container.Resources{MemorySwappiness: number(-2)}},
		{"", container.Resources{MemorySwappiness: number(-1)}},
	} {
		err := CheckLimits(c.r, Machine{CPUs: 4, OnlineCPUs: "0-3", OnlineNodes: "0"})
		if c.text == "" {
			must(t, err)
			continue
		}
		refused(t, err, model.Invalid, c.text)
	}
}

func number(n int64) *int64 { return &n }

func TestCheckAvailable(t *testing.T) {
	for _, c := range []struct {
		cpus, mems string
		text       string
	}{
		{"", "", ""},
		{"0-1,4", "0", ""},
		{"3", "", "Requested CPUs are not available - requested 3, available: 0-1,4-5"},
		{"1-42", "", "Requested CPUs are not available - requested 1-42, available: 0-1,4-5"},
		{"", "0-1", "Requested memory nodes are not available - requested 0-1, available: 0"},
	} {
		err := checkAvailable(container.Resources{CpusetCpus: c.cpus, CpusetMems: c.mems}, "0-1,4-5", "0")
		if c.text == "" {
			must(t, err)
			continue
		}
		refused(t, err, model.Invalid, c.text)
	}
	must(t, checkAvailable(container.Resources{CpusetCpus: "7", CpusetMems: "7"}, "", "")) // nobody knows
}

// TestPossible: what the machine cannot set is discarded, with a remark each; what it can is
// left.
func TestPossible(t *testing.T) {
	device := []*blkiodev.ThrottleDevice{{Path: "/dev/null", Rate: 1}}
	all := container.Resources{BlkioWeight: 20, BlkioWeightDevice: []*blkiodev.WeightDevice{{Path: "/dev/null", Weight: 20}},
		BlkioDeviceReadBps: device, BlkioDeviceWriteBps: device, BlkioDeviceReadIOps: device, BlkioDeviceWriteIOps: device}
	given := all
	if got := Possible(&given, Machine{BlockWeights: true, BlockDeviceWeights: true, BlockLimits: true}); got != nil || blockIO(given) == nil {
		t.Errorf("all can be set: %q, %+v", got, given)
	}
	if got := Possible(&given, Machine{}); len(got) != 6 || got[2] != "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded." {
		t.Errorf("nothing can be set: %q", got)
	}
	if got := blockIO(given); got != nil {
		t.Errorf("left: %+v", got)
	}
}
