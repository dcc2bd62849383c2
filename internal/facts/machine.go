package facts

// Machine is what is told of the host as a whole (docker info, docker version).
type Machine struct {
	Kernel         string
	System         string // "Debian GNU/Linux 12 (bookworm)"
	SystemVersion  string
	Name           string
	Memory         int64 // bytes
	Forwarding4    bool
	CgroupVersion  string // "1" or "2"
	Seccomp        bool
	AppArmor       bool
	CPUControl     bool // limits of this kind can be set
	MemoryControl  bool
	SwapControl    bool
	CPUSetControl  bool
	ProcessControl bool
	OOMControl     bool // the killer can be told to leave containers alone
	Cgroupns       bool // there are cgroup namespaces
	BlockControl   BlockControl
	Descriptors    int // that the daemon has open
}

// BlockControl says which limits on block devices can be set: bytes and accesses a second.
type BlockControl struct{ ReadBytes, WriteBytes, ReadTimes, WriteTimes bool }
