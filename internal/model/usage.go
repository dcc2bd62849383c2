package model

import "time"

// Usage is what a container has used of the machine until a moment, as its cgroup and its
// network namespace count it.
type Usage struct {
	At       time.Time
	CPU      CPUUsage
	Memory   MemoryUsage
	IO       IOUsage
	Pids     PidsUsage
	Networks map[string]NetworkUsage // by the interface's name, without the loopback
}

// CPUUsage is time on CPUs, in nanoseconds.
type CPUUsage struct {
	Total, Kernel, User uint64
	PerCPU              []uint64 // nil where the kernel does not count it (cgroup v2)
	// Periods are those in which the container had a quota, Throttled those of them in which
	// it was used up, ThrottledTime how long the container waited then.
	Periods, Throttled, ThrottledTime uint64
	// System is the time of all CPUs of the machine together, idle or not, and Online how
	// many there are.
	System uint64
	Online uint32
}

// MemoryUsage is memory in bytes. Counters are the kernel's own, by their names in
// memory.stat; Failures counts how often the limit was hit.
type MemoryUsage struct {
	Usage, Max, Limit, Failures uint64
	Counters                    map[string]uint64
}

// IOUsage is what went to and from block devices. With cgroup v2 only ServiceBytes are
// counted.
type IOUsage struct {
	ServiceBytes, Serviced, Queued, ServiceTime, WaitTime, Merged, Time, Sectors []IOCount
}

// IOCount is one kind of operation on one device.
type IOCount struct {
	Major, Minor uint64
	Op           string // "Read", "Write", "Total" ...; "read" or "write" with cgroup v2
	Value        uint64
}

// PidsUsage is how many processes and threads there are, and may be; 0 is no limit.
type PidsUsage struct{ Current, Limit uint64 }

// NetworkUsage is what went through one network interface.
type NetworkUsage struct {
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}
