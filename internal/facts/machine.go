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
	Descriptors    int // that the daemon has open
}
